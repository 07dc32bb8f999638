"""The class of the settings."""

from stream_app.settings import Settings

__all__ = ["Settings"]
