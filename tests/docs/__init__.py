"""The pages of the documentation and the examples, run."""
