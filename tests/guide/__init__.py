"""The claims of the App guide, each as a test; ``docs/guide.md`` names the test of each claim."""
