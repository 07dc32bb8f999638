"""Names of Faust that an app, table or stream does not have: who reads one is told why, and what to use."""

from __future__ import annotations

from typing import Any

import pytest

import stream_app as faust
from stream_app.absent_members import OF_APP

from .apps import make


@pytest.mark.parametrize("name", sorted(OF_APP))
def test_a_name_of_faust_that_an_app_does_not_have(name: str) -> None:
    """Is an AttributeError with the reason, and not there for ``hasattr``."""
    app = make()
    assert not hasattr(app, name)
    with pytest.raises(AttributeError) as caught:
        getattr(app, name)
    assert str(caught.value) == f"'App' object has no attribute {name!r}: {OF_APP[name]}"


def test_a_misspelt_name_of_an_app() -> None:
    """Names the nearest; private names, which other code looks for, name none."""
    app = make()
    with pytest.raises(AttributeError, match=r"has no attribute 'agnet': did you mean 'agent'\?"):
        app.agnet  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute '_agnets'$"):
        app._agnets  # type: ignore[attr-defined]  # noqa: B018
    assert getattr(app, "qqqq", 1) == 1


def test_an_error_of_a_property_is_its_own() -> None:
    """An app of one's own does not lose what its property says."""

    class Shop(faust.App):
        assignor = "of one's own"

        @property
        def stock(self) -> Any:
            raise AttributeError("the stock is empty")

    shop = Shop("shop", broker="memory://")
    assert shop.assignor == "of one's own"
    with pytest.raises(AttributeError, match=r"^the stock is empty$"):
        shop.stock  # noqa: B018


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("left_join", "tables cannot be joined, in Faust neither"),
        ("data", "the table is the dictionary"),
        ("partition_for_key", "a key is in the partition of the event that changed it"),
        ("raw_update", "what a table has is what its changelog has"),
        ("send_changelog", "assign the value in an event"),
    ],
)
def test_a_name_of_faust_that_a_table_does_not_have(name: str, reason: str) -> None:
    """Likewise, of a class of one's own too."""
    table = make().Table("counts")
    assert not hasattr(table, name)
    assert not hasattr(faust.Table, name)
    with pytest.raises(AttributeError, match=f"Table has no {name}: {reason}"):
        getattr(table, name)


@pytest.mark.parametrize("name", ["join", "inner_join", "left_join", "outer_join", "ack", "throw"])
async def test_a_name_of_faust_that_a_stream_does_not_have(name: str) -> None:
    """Likewise."""
    stream = make().stream([1, 2])
    assert not hasattr(stream, name)
    with pytest.raises(AttributeError, match=f"Stream has no {name}: "):
        getattr(stream, name)
