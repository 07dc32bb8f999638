"""Records, by the names that Faust has for them."""

from typing import TYPE_CHECKING, Any

from stream_app.absent import answers
from stream_core.values.fields import FieldDescriptor, StringField
from stream_core.values.record import Record
from stream_core.values.wire import RecordOptions, registry

__all__ = ["FieldDescriptor", "Model", "ModelOptions", "Record", "StringField", "maybe_model", "registry"]

Model = Record
ModelOptions = RecordOptions


def maybe_model(data: Any) -> Any:
    """Make the record that plain data describe, which name its class as messages do; leave all else as it is."""
    match data:
        case {"__faust": {"ns": str(namespace)}} if (cls := registry.get(namespace)) is not None:
            return cls.from_data(data)
    return data


if not TYPE_CHECKING:
    __getattr__ = answers(__name__, __all__, ("fields", "tags"))
