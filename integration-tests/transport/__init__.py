"""The transport against a real broker."""
