"""Where a coroutine waits, and which frames of an error are shown."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stream_core.errors import EncodeError
from stream_core.stacks import for_its_author, waiting_in
from stream_core.values.codecs import Codec
from stream_core.values.schemas import Schema


async def innermost() -> None:
    """Waits for ever."""
    await asyncio.Event().wait()


async def body() -> None:
    """Waits one level up."""
    await innermost()


async def numbers() -> AsyncIterator[int]:
    """Waits before it yields anything."""
    await innermost()
    yield 1


async def test_every_level_is_named() -> None:
    """Function by function, with file and line, down to the library's."""
    coroutine = body()
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    levels = waiting_in(coroutine).split(" > ")
    assert [level.rsplit(" ", 1)[1] for level in levels] == ["body", "innermost", "wait"]
    assert "test_stacks.py:" in levels[0]
    task.cancel()


async def test_generators() -> None:
    """A body that yields is an asynchronous generator."""
    generator = numbers()
    task = asyncio.ensure_future(anext(generator))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert " numbers > " in waiting_in(generator)
    task.cancel()


def test_nothing_to_tell() -> None:
    """What is over, or no coroutine at all, waits nowhere."""
    assert waiting_in(None) == "nowhere"
    assert waiting_in(object()) == "nowhere"


# -- errors


def caught(call: Callable[[], Any]) -> BaseException:
    """What it raises."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError(call)


def frames(error: BaseException) -> list[str]:
    """The functions that its traceback names."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def author(value: Any) -> None:
    """Call code of ours."""
    Schema(value_type=bytes).encode(None, value, [])


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_an_error_of_ours_shows_where_its_author_called(level: int) -> None:
    """Nothing behind that, and nothing of what it was made from; a log at DEBUG has all."""
    logger = logging.getLogger("test_stacks")
    logger.setLevel(level)
    error = caught(lambda: author({}))
    before = frames(error)
    assert isinstance(error, EncodeError)
    assert before[-1] == "encode"
    assert for_its_author(error, logger) is error
    short = level == logging.INFO
    assert frames(error) == (["caught", "<lambda>", "author"] if short else before)
    assert error.__cause__ is not None
    assert bool(frames(error.__cause__)) != short


def test_an_error_of_another_kind_shows_where_it_was_raised() -> None:
    """Without the frames of ours that lead to its author; a fault of ours has all that are behind."""

    class Own(Codec):
        def _dumps(self, obj: Any) -> bytes:
            raise KeyError(obj)

    logger = logging.getLogger("test_stacks")
    logger.setLevel(logging.INFO)
    fault = caught(lambda: Schema(value_type=int).read_value(None))  # type: ignore[arg-type]
    before = frames(fault)
    assert frames(for_its_author(fault, logger)) == before
    error = caught(lambda: Own().dumps(1))
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_next is not None
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # as where we call
    assert frames(error) == ["dumps", "_dumps"]
    assert frames(for_its_author(error, logger)) == ["_dumps"]
    error.__traceback__ = None
    assert frames(for_its_author(error, logger)) == []
