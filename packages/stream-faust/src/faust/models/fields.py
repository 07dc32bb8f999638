"""Fields that say more than their type: bounds, names on the wire, checks of one's own."""

from stream_app.models.fields import *  # noqa: F403 - this module is that list of names
from stream_app.models.fields import __all__ as __all__
