"""The ``stream`` program: it runs the workers of an app, a broker for development, and what other packages add to it."""

from __future__ import annotations

__all__: list[str] = []
