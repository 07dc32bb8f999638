"""Options of definitions: a misspelt one, and a value of a wrong type, are answered by name; type checkers know them as well."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, get_type_hints

import pytest

import stream_app as faust
from stream_app.settings import options
from stream_app.settings.settings import known_settings
from stream_core.errors import ConfigurationError

from .apps import make

Define = Callable[[Any], Any]


async def read(stream: Any) -> None:
    """The body of an agent."""
    async for _ in stream:
        pass


async def body(stream: Any) -> None:
    """Do nothing."""


async def tick() -> None:
    """The body of a timer."""


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda app: app.agent("a", concurency=2),
            "agent a: there is no option 'concurency': did you mean 'concurrency'?",
        ),
        (
            lambda app: app.agent(name="b", value_typ=2),
            "agent b: there is no option 'value_typ': did you mean 'value_type'?",
        ),
        (lambda app: app.agent(partition=2), "agent: there is no option 'partition': did you mean 'partitions'?"),
        (
            lambda app: app.topic("a", "b", retension=2),
            "topic a, b: there is no option 'retension': did you mean 'retention'?",
        ),
        (lambda app: app.topic(pattern="a.*", ack=2), "topic a.*: there is no option 'ack': did you mean 'acks'?"),
        (lambda app: app.channel(max_size=2), "channel: there is no option 'max_size': did you mean 'maxsize'?"),
        (lambda app: app.Table("a", defualt=int), "table a: there is no option 'defualt': did you mean 'default'?"),
        (
            lambda app: app.timer(1.0, on_leeder=True),
            "timer: there is no option 'on_leeder': did you mean 'on_leader'?",
        ),
        (lambda app: app.task(leader=True), "task: there is no option 'leader': did you mean 'on_leader'?"),
        (
            lambda app: app.crontab("* * * * *", zone="UTC"),
            "crontab: there is no option 'zone': did you mean 'timezone'?",
        ),
        (
            lambda app: app.crontab("* * * * *", q=1),
            "crontab: there is no option 'q': there are on_leader, spec, timezone, traced",
        ),
        (lambda app: app.Worker(loglevl="info"), "worker: there is no option 'loglevl': did you mean 'loglevel'?"),
        (lambda app: faust.Worker(app, debugg=1), "worker: there is no option 'debugg': did you mean 'debug'?"),
        (lambda app: faust.App("a", brokr="x"), "there is no setting 'brokr': did you mean 'broker'?"),
    ],
    ids=itertools.count(),
)
def test_a_misspelt_option_is_answered_by_name(define: Define, message: str) -> None:
    """With the nearest one, before anything is defined."""
    app = make()
    with pytest.raises(ConfigurationError) as caught:
        define(app)
    assert str(caught.value) == message
    assert not app.defined


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda app: app.timer("1s"), "timer: interval='1s' cannot be used: write seconds or a timedelta"),
        (lambda app: app.timer(interval=True), "timer: interval=True cannot be used: write seconds or a timedelta"),
        (lambda app: app.timer(tick), f"timer: interval={tick!r} cannot be used: write seconds or a timedelta"),
        (
            lambda app: app.agent(42, name="a")(body),
            "agent a cannot read 42: give it a topic, a channel, or the name of a topic",
        ),
        (lambda app: app.agent("a", concurrency="2"), "agent a: concurrency='2' cannot be used: write a whole number"),
        (lambda app: app.agent("a", concurrency=2.0), "agent a: concurrency=2.0 cannot be used: write a whole number"),
        (lambda app: app.agent("a", sink="b"), "agent a: sink='b' cannot be used: write a list"),
        (lambda app: app.agent("a", on_error="b"), "agent a: on_error='b' cannot be used: write a function"),
        (lambda app: app.agent("a", partitions="8"), "agent a: partitions='8' cannot be used: write a whole number"),
        (
            lambda app: app.topic("a", retention="1d"),
            "topic a: retention='1d' cannot be used: write seconds or a timedelta",
        ),
        (lambda app: app.topic("a", compacting=1), "topic a: compacting=1 cannot be used: write True or False"),
        (lambda app: app.topic("a", config=["b"]), "topic a: config=['b'] cannot be used: write a mapping"),
        (lambda app: app.topic("a", schema=int), f"topic a: schema={int!r} cannot be used: write Schema"),
        (lambda app: app.Table("a", default=0), "table a: default=0 cannot be used: write a function"),
        (lambda app: app.Table("a", help=0), "table a: help=0 cannot be used: write text"),
        (lambda app: app.Table(name=1), "table 1: name=1 cannot be used: write text"),
        (lambda app: app.channel(maxsize="2"), "channel: maxsize='2' cannot be used: write a whole number"),
        (lambda app: app.topic(3), "topic: names=3 cannot be used: write text"),
        (lambda app: app.topic("a", "b", 3), "topic a, b: names=3 cannot be used: write text"),
        (lambda app: app.Table(default=int), "table: missing a required argument: 'name'"),
        (lambda app: app.Table("a", int), "table a: too many positional arguments"),
        (lambda app: app.timer(), "timer: missing a required argument: 'interval'"),
        (lambda app: app.crontab(18), "crontab: spec=18 cannot be used: write text"),
        (lambda app: faust.Worker("app"), "worker: app='app' cannot be used: write an App"),
        (lambda app: faust.Worker(app, stop_timeout="1"), "worker: stop_timeout='1' cannot be used: write seconds"),
    ],
    ids=itertools.count(),
)
def test_a_value_of_a_wrong_type_is_answered_by_name(define: Define, message: str) -> None:
    """With what is expected."""
    app = make()
    with pytest.raises(ConfigurationError) as caught:
        define(app)
    assert str(caught.value) == message
    assert not app.defined


def test_values_that_fit_pass() -> None:
    """Whole numbers are numbers, ``None`` is what was left out, a generic type is a type."""
    app = make()
    app.timer(1)(tick)
    app.timer(timedelta(seconds=1))(tick)
    app.agent("a", sink=(), on_error=None, key_type=list[int], partitions=None)(read)
    app.Table("a", default=None, value_type=dict[str, int], partitions=None)
    app.topic("b", retention=1, config={}, on_decode_error=faust.FailurePolicy.SKIP)
    app.channel(maxsize=None)


# -- for type checkers


def test_the_options_of_an_app_are_its_settings() -> None:
    """Each setting can be completed by an editor, and there is no other."""
    assert list(options.SettingOptions.__annotations__) == list(known_settings())


def test_the_types_of_the_options_are_those_of_the_settings() -> None:
    """What a type checker lets pass is what the setting takes."""
    hints = get_type_hints(options.SettingOptions)
    expected = {
        "bytes": int | None,
        "milliseconds": int | None,
        "number": int | None,
        "number of a port": int | None,
        "number, 1 or more": int | None,
        "seconds, or a timedelta": float | timedelta | None,
        "text": str | None,
        "true or false": bool | None,
    }
    kinds = {row.name: row.kind for row in make().conf.describe()}
    checked = {name: (hints[name], expected[kind]) for name, kind in kinds.items() if kind in expected}
    assert len(checked) > 40
    assert {name: hint for name, (hint, right) in checked.items() if hint != right} == {}


def test_settings_from_elsewhere() -> None:
    """``config_source`` is what ``config_from_object`` takes."""
    app = make(config_source={"topic_partitions": 3})
    assert app.conf.topic_partitions == 3


@pytest.mark.parametrize(
    "name", ["allow_empty", "has_prefix", "active_partitions", "loop", "queue", "root", "is_iterator"]
)
@pytest.mark.parametrize("define", ["topic", "channel"])
def test_options_of_faust_that_have_no_effect(define: str, name: str) -> None:
    """They are refused with the reason, of an agent's own topic too; where they ask for nothing they pass."""
    app = make()
    with pytest.raises(ConfigurationError, match=f"{name}=True has no effect: "):
        getattr(app, define)("numbers", **{name: True})
    with pytest.raises(ConfigurationError, match=f"{name}=True has no effect: "):
        app.agent(**{name: True})
    getattr(app, define)("numbers", **{name: None})


def test_the_help_of_an_agent() -> None:
    """It is said, or the docstring of the body."""
    app = make()

    async def body(stream: Any) -> None:
        """Reads."""
        async for _ in stream:
            pass

    assert app.agent(name="one")(body).help == "Reads."
    assert app.agent(name="two", help="Counts.")(body).help == "Counts."
