"""The app."""

from stream_app import App

__all__ = ["App"]
