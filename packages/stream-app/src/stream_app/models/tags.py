"""Tags: types that keep values out of logs."""

from stream_core.values.tags import (
    OpaqueTag,
    Personal,
    Secret,
    Sensitive,
    Tag,
    TransparentTag,
    allow_protected_vars,
)

__all__ = ["OpaqueTag", "Personal", "Secret", "Sensitive", "Tag", "TransparentTag", "allow_protected_vars"]
