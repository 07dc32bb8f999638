"""The small functions that programs import do what their names say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

import faust
from faust.exceptions import ImproperlyConfigured
from faust.models import maybe_model
from faust.serializers import codecs
from faust.types import TP, HeadersArg, ProcessingGuarantee
from faust.types.core import merge_headers
from faust.types.tuples import tp_set_to_map
from faust.utils import iso8601, json


class Point(faust.Record, namespace="helpers.Point"):
    """A record."""

    x: int


def test_ids_are_random_text() -> None:
    """``faust.uuid()`` gives another id each time."""
    assert UUID(faust.uuid()) != UUID(faust.uuid())


def test_headers_are_merged() -> None:
    """Headers are put into a dictionary or a list; text becomes bytes."""
    named = {"a": b"1"}
    pairs = [("a", b"1")]
    for target in (named, pairs):
        merge_headers(target, {"b": "ü", "c": b"3"})
    assert named == {"a": b"1", "b": "ü".encode(), "c": b"3"}
    assert pairs == list(named.items())


def test_headers_that_cannot_change_are_refused() -> None:
    """A tuple of headers is not changed in silence."""
    fixed: HeadersArg = (("a", b"1"),)
    with pytest.raises(TypeError, match="headers of type tuple cannot be changed"):
        merge_headers(fixed, {"b": b"2"})
    merge_headers(fixed, {})


def test_partitions_are_grouped_by_topic() -> None:
    """``tp_set_to_map`` gives the partitions of each topic."""
    assert tp_set_to_map([TP("a", 0), TP("b", 1), TP("a", 2)]) == {"a": {TP("a", 0), TP("a", 2)}, "b": {TP("b", 1)}}


def test_guarantees_have_names() -> None:
    """The setting takes the named choice as it takes the text."""
    app = faust.App("guaranteed", processing_guarantee=ProcessingGuarantee.EXACTLY_ONCE)
    assert str(app.conf.processing_guarantee) == "exactly_once"
    assert app.conf.exactly_once
    with pytest.raises(ImproperlyConfigured, match="processing_guarantee"):
        faust.App("guaranteed", processing_guarantee="at_most_once")


@pytest.mark.parametrize("obj", [{"a": 1}, Point(3)], ids=["plain", "record"])
def test_codecs_are_called_by_name(obj: Any) -> None:
    """``codecs.dumps`` and ``loads`` are the two directions of a codec, by its name."""
    data = codecs.dumps("json|binary", obj)
    assert data is not None
    assert maybe_model(codecs.loads("json|binary", data)) == obj
    assert codecs.loads(None, codecs.dumps(None, b"as it is") or b"") == b"as it is"


def test_data_become_records_when_they_name_their_class() -> None:
    """``maybe_model`` makes a record of data that name a known class, and leaves all else alone."""
    assert maybe_model({"x": 1, "__faust": {"ns": "helpers.Point"}}) == Point(1)
    for other in ({"x": 1}, {"x": 1, "__faust": {"ns": "helpers.Unknown"}}, 5, None):
        assert maybe_model(other) is other


def test_json_and_dates_are_those_of_topics() -> None:
    """The helpers of ``faust.utils`` read and write what topics hold."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert json.dumps({"at": at}) == '{"at":"2026-01-02T00:00:00Z"}'
    assert json.loads('{"a":[1]}') == json.loads(b'{"a":[1]}') == {"a": [1]}
    assert iso8601.parse("2026-01-02T00:00:00Z") == at
