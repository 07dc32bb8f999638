"""The log of a worker: levels, files, colours on a terminal, JSON for collectors, and what a program configures itself."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

from colorlog import ColoredFormatter

from stream_core.errors import ConfigurationError, MissingPackageError

__all__ = ["LogFormat", "set_up_logging"]

LogFormat = Literal["text", "json"]

TEXT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"
COLOURED = (
    "[%(asctime)s] [%(process)d] [%(log_color)s%(levelname)s%(reset)s] %(short)s: %(log_color)s%(message)s%(reset)s"
)
"""For eyes: the time of the day, and loggers without the prefix of our packages."""
COLOURS = {"DEBUG": "thin", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold_red"}


def set_up_logging(
    level: str | int,
    file: str | Path | TextIO | None,
    *,
    log_format: LogFormat = "text",
    handlers: Sequence[logging.Handler] = (),
    config: Mapping[str, Any] | None = None,
) -> None:
    """Log from ``level`` on to a file, by name or open, or to standard error; what the program has set up itself stays.

    Args:
        level: a number or a name, in letters of any case.
        file: where to.
        log_format: ``text``, in colours on a terminal unless NO_COLOR is set, or ``json``: an object a line.
        handlers: also log to these; one without a formatter gets that of the file.
        config: all of it, for :func:`logging.config.dictConfig`, instead of level, file and format; with ``merge=True`` beside them.

    Raises:
        ConfigurationError: the file cannot be written, there is no such level, or the configuration cannot be used.
        MissingPackageError: JSON is wanted, and python-json-logger is not installed.
    """
    known = level.upper() if isinstance(level, str) else level
    if isinstance(known, str) and known not in logging.getLevelNamesMapping():
        raise ConfigurationError(
            f"there is no log level {level!r}; use CRITICAL, ERROR, WARNING, INFO or DEBUG, or a number"
        )
    if config is not None:
        _apply(config)
    if config is None or config.get("merge"):
        _log_to(file, known, log_format, handlers)  # where nothing of the configuration belongs to the root logger
    for handler in handlers:
        if handler not in logging.root.handlers:
            logging.root.addHandler(handler)


def _log_to(
    file: str | Path | TextIO | None, level: str | int, log_format: LogFormat, more: Sequence[logging.Handler]
) -> None:
    try:
        own: logging.Handler = (
            logging.FileHandler(file) if isinstance(file, str | Path) else logging.StreamHandler(file)
        )
    except OSError as error:
        raise ConfigurationError(
            f"the log file {file} cannot be written: {error.strerror}; make its directory, or name another file"
        ) from error
    formatter = _formatter(log_format, sys.stderr if file is None else file)
    for handler in (own, *more):
        if handler.formatter is None:
            handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[own])


def _formatter(log_format: LogFormat, file: str | Path | TextIO) -> logging.Formatter:
    if log_format == "json":
        try:
            from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - optional
        except ImportError as error:
            raise MissingPackageError(
                "a log in JSON needs python-json-logger: pip install 'stream-app[json-log]'"
            ) from error
        return JsonFormatter(
            "%(levelname)s %(name)s %(process)d %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
        )
    if not isinstance(file, str | Path) and file.isatty() and not os.environ.get("NO_COLOR"):
        return _Short(COLOURED, "%H:%M:%S", log_colors=COLOURS)
    return logging.Formatter(TEXT)


class _Short(ColoredFormatter):
    """Writes ``web.server`` for the logger ``stream_web.server``, and ``engine.ownership`` for ``stream_core.engine.ownership``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging calls
        """Return the line of a record."""
        record.short = record.name.removeprefix("stream_core.").removeprefix("stream_")
        return super().formatMessage(record)


def _apply(config: Mapping[str, Any]) -> None:
    whole = {
        "version": 1,
        "disable_existing_loggers": False,  # those of this package exist already
        **{name: value for name, value in config.items() if name != "merge"},
    }
    try:
        logging.config.dictConfig(whole)
    except (ValueError, TypeError, AttributeError, ImportError) as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ is not None else str(error)
        raise ConfigurationError(f"logging_config cannot be used: {reason}") from error
