"""``import faust`` for existing code: the names of the guides, served by Stream."""

from typing import TYPE_CHECKING, Any

import stream_app
from stream_app import *  # noqa: F403 - this package is that list of names
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
        "serializers",
        "streams",
        "tables",
        "topics",
        "types",
    ),
    *("utils", "worker"),
)
"""The modules that programs import from, beside the names above."""

listen(__name__)

if TYPE_CHECKING:
    __version__: str
else:
    _answer = answers(__name__, __all__, SUBMODULES)

    def __getattr__(name: str) -> Any:
        """A submodule, or the version; explains a name that is not here."""
        return stream_app.__version__ if name == "__version__" else _answer(name)
