"""What can be known of a class while it is being made: its name, its fields, which of them may be ``None``."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["explain_names", "field_types", "is_optional", "module_name", "qualified_name"]


def field_types(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return names and types of the fields in a class body as its metaclass gets it; class variables are left out.

    Names that are not defined yet may be used in an annotation; its type is then right in its outermost form only.
    """
    if sys.version_info >= (3, 14) and (annotate := annotationlib.get_annotate_from_class_namespace(body)):
        annotations = annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    else:
        annotations = body.get("__annotations__", {})
    types = {name: _evaluate(annotation, body["__module__"]) for name, annotation in annotations.items()}
    return {name: type_ for name, type_ in types.items() if type_ is not ClassVar and get_origin(type_) is not ClassVar}


def is_optional(type_: Any) -> bool:
    """Tell whether a type is a union with ``None``."""
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    return get_origin(type_) in (Union, UnionType) and NoneType in get_args(type_)


@contextmanager
def explain_names(type_: Any) -> Iterator[None]:
    """Say what to do about a name in the annotations of a class that cannot be found when its types are looked up.

    Raises:
        NameError: the one that the block raises, with that.
    """
    try:
        yield
    except NameError as error:
        name = getattr(type_, "__name__", type_)
        raise NameError(
            f"{error}: {name} names it in its annotations, which are looked up in the module: define both at its top, not in a function",
            name=error.name,
        ) from error


class _Undefined:
    """Stands for a name that is not defined (yet)."""

    def __class_getitem__(cls, item: object) -> type[_Undefined]:
        return cls


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> type[_Undefined]:
        return _Undefined


def _evaluate(annotation: Any, module: str) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(vars(builtins) | vars(sys.modules.get(module, builtins))))
    except Exception:
        # Such as an attribute of an undefined name: msgspec names the mistake when the type is first used.
        return Any


def qualified_name(module: str, qualname: str) -> str:
    """Return ``module.qualname``, where one file has one name: how a program is started must not matter.

    ``__main__`` is the file that was started, and a file of a package carries the name of the package even when it was imported from
    the package's own directory.
    """
    return f"{module_name(module)}.{qualname}"


def module_name(name: str) -> str:
    """Return the name under which other modules import the module that is loaded as ``name``."""
    module = sys.modules.get(name)
    is_main = name in ("__main__", "__mp_main__")  # the second in processes that multiprocessing starts
    if is_main and (spec := getattr(module, "__spec__", None)) is not None:
        name, is_main = str(spec.name), False
    if (file := getattr(module, "__file__", None)) is None:
        return name
    by_file = _name_of_file(Path(file).absolute())
    return by_file if is_main or by_file.endswith(f".{name}") else name


def _name_of_file(path: Path) -> str:
    """Return the name under which a program outside of all its packages imports a file."""
    parts = [] if path.stem == "__init__" else [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        parts.insert(0, folder.name)
    return ".".join(parts)
