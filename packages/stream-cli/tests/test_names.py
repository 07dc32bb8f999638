"""The short names of agents."""

from __future__ import annotations

import pytest

from stream_cli.names import full_name, short_name
from stream_core.errors import ConfigurationError

AGENTS = ["shop.orders.count", "shop.orders.bill", "shop.audit.count", "ship"]


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("shop.orders.bill", "@bill"),
        ("shop.orders.count", "@orders.count"),
        ("shop.audit.count", "@audit.count"),
        ("ship", "@ship"),
    ],
)
def test_short_names_are_as_short_as_they_are_unique(name: str, short: str) -> None:
    """A short name leads back to its agent, and so does the full one."""
    assert short_name(name, AGENTS) == short
    assert full_name(short.removeprefix("@"), AGENTS) == name
    assert full_name(name, AGENTS) == name


def test_a_name_inside_of_another() -> None:
    """An agent whose name is the end of another one's keeps it, and the other one is told apart."""
    names = ["count", "audit.count"]
    assert [short_name(name, names) for name in names] == ["@count", "@audit.count"]
    assert full_name("count", names) == "count"


@pytest.mark.parametrize(
    ("short", "answer"),
    [
        ("bil", r"no agent @bil; did you mean @bill\?"),
        ("count", r"@count may be @audit\.count or @orders\.count: write one of these"),
        ("xyz", r"no agent @xyz; it has @audit\.count, @bill, @orders\.count, @ship"),
    ],
)
def test_what_is_not_one_agent_is_answered_with_those_that_could_be_meant(short: str, answer: str) -> None:
    """Misspelled, ambiguous and unknown names are told apart."""
    with pytest.raises(ConfigurationError, match=answer):
        full_name(short, AGENTS)


def test_an_app_without_agents() -> None:
    """There is nothing to suggest."""
    with pytest.raises(ConfigurationError, match="no agent @count; it has none"):
        full_name("count", [])
