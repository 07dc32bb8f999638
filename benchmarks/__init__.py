"""How fast Stream is, measured against a real broker: ``just bench``, or ``python -m benchmarks``."""
