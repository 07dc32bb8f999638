"""Names of Faust that an object does not have here: who reads one is told why, and what to use."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["NotHere"]


class NotHere:
    """A class attribute that does not exist, as ``hasattr`` sees it. It costs nothing where other attributes are read.

    Args:
        sentence: why not, and what to use.
    """

    def __init__(self, sentence: str) -> None:
        self._sentence, self._name, self._owner = sentence, "", ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._owner = name, owner.__name__

    def __get__(self, instance: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{self._owner} has no {self._name}: {self._sentence}", name=self._name, obj=instance)
