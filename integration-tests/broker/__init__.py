"""The development broker."""
