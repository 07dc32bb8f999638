"""Errors of values that do not fit: ours, with the class and the path of the field, and without what tags hide."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from stream_core.errors import ValidationError
from stream_core.values.encoding import is_final
from stream_core.values.wire import is_tagged

__all__ = ["fault"]

PATH = re.compile(r" - at `[^`]*`$")

HARMLESS = re.compile(
    r"Expected `[^`]*`(?:, got `[^`]*`| (?:[<>=]|of length|matching|that)[^`]*)?"
    r"|Object [^']*|Invalid [\w ]*\w|JSON is malformed[^']*|there is no value.*"
)
"""What an error of msgspec says of the type and not of the value; a value stands in quotes behind it."""


def fault(error: Exception, type_: Any, name: str) -> ValidationError:
    """Make the error of a value that does not fit its type; raise it from its cause.

    Where fields of the type have tags, neither it nor its cause shows a value: what msgspec says of an enumeration, and what the function
    of a user says, may have it in.

    Args:
        error: what the decoder said.
        type_: of the value.
        name: of the type, to begin with; empty where there is none.
    """
    text, cause = f"{error}", error
    if is_tagged(type_):
        path = PATH.search(text)
        said = HARMLESS.match(text[: path.start()] if path else text)
        text = f"{said[0] if said else 'the value does not fit'}{path[0] if path else ''}"
        cause = msgspec.ValidationError(text) if is_final(error) else RuntimeError(type(error).__name__)
    made = ValidationError(f"{name}: {text}" if name else text)
    made.__cause__ = cause
    return made
