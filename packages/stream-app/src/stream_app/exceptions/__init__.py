"""The errors of Stream by their names in Faust; :mod:`stream_core.errors` shows the whole tree."""

from typing import TYPE_CHECKING

from stream_app.absent import answers
from stream_core.errors import (
    ConfigurationError,
    DecodeError,
    ProduceError,
    SecurityError,
    Skip,
    StoreCorruptError,
    StreamError,
    ValidationError,
)
from stream_tables.errors import PartitionsMismatchError

__all__ = [
    "ConsistencyError",
    "DecodeError",
    "FaustError",
    "ImproperlyConfigured",
    "KeyDecodeError",
    "PartitionsMismatch",
    "ProducerSendError",
    "SecurityError",
    "Skip",
    "ValidationError",
    "ValueDecodeError",
]

FaustError = StreamError
ImproperlyConfigured = ConfigurationError
KeyDecodeError = ValueDecodeError = DecodeError
"""The message says whether it is the key or the value."""
ProducerSendError = ProduceError
PartitionsMismatch = PartitionsMismatchError
ConsistencyError = StoreCorruptError
"""A store that does not fit its changelog is emptied and replayed; nothing of that reaches a program."""

if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__)
