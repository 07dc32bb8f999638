"""``app.conf``: every setting of an app by a flat name, and how its value is read, checked and shown."""

from stream_app.settings.parameters import Parameter
from stream_app.settings.settings import SettingRow, Settings, known_settings

__all__ = ["Parameter", "SettingRow", "Settings", "known_settings"]
