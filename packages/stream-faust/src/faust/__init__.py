"""``import faust`` for existing code: the names of the guides, served by Stream."""

from typing import TYPE_CHECKING, Any

import stream_app
from stream_app import __all__ as __all__
from stream_app.absent import answers, listen

SUBMODULES = (
    *(
        "agents",
        "app",
        "auth",
        "channels",
        "cli",
        "events",
        "exceptions",
        "models",
        "sensors",
        "serializers",
        "streams",
        "tables",
        "topics",
        "types",
    ),
    *("utils", "web", "windows", "worker"),
)
"""The modules that programs import from, beside the names above."""

listen(__name__)

if TYPE_CHECKING:
    from stream_app import *  # noqa: F403 - this package is that list of names

    __version__: str
else:
    globals().update({name: getattr(stream_app, name) for name in __all__ if name not in stream_app.LAZY})
    _answer = answers(__name__, __all__, SUBMODULES)

    def __getattr__(name: str) -> Any:
        """Give a name that takes a while to load, a submodule, or the version; explain a name that is not here."""
        return getattr(stream_app, name) if name in (*stream_app.LAZY, "__version__") else _answer(name)
