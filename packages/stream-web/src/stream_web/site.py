"""What views and blueprints know of the pages around them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stream_web.responses import Responses

__all__ = ["Site"]

P = TypeVar("P", bound=Callable[..., Any])


class Site(Responses):
    """The pages of an app, as :class:`~stream_web.pages.Web` has them."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the worker is reached. Raises ConfigurationError before its web server has started."""

    @abstractmethod
    def url_for(self, view_name: str, **parts: Any) -> str:
        """Give the path of a page by its name. Raises ConfigurationError when there is none."""

    @abstractmethod
    def page(
        self,
        path: str,
        *,
        base: type[Any] | None = None,
        cors_options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Callable[[P], P]:
        """Define a page. Raises ConfigurationError when it cannot be one."""

    @abstractmethod
    def static(self, prefix: str, file_or_directory: str | Path, *, name: str = "static") -> None:
        """Serve files below a path. Raises ConfigurationError when there are none."""
