"""A shop whose tests need no broker."""
