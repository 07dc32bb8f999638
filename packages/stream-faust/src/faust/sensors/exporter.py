"""What monitors that push are made of."""

from stream_app.sensors.exporter import *  # noqa: F403 - this module is that list of names
from stream_app.sensors.exporter import __all__ as __all__
