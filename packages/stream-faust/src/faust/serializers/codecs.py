"""Codecs by their names."""

from stream_app.serializers.codecs import *  # noqa: F403 - this module is that list of names
from stream_app.serializers.codecs import __all__ as __all__
