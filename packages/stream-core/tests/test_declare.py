"""Topics at start: what is created with how many partitions, and what is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from stream_core.engine.declare import PARTITIONS, declare
from stream_core.engine.participants import Participant
from stream_core.errors import TopicMismatchError, TransportError, UnknownTopicError
from stream_core.memory.admin import MemoryAdmin
from stream_core.primitives import TopicSpec
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.values.schemas import Schema

from .harness import Lab


class Changelogs:
    """The part of a participant that declares topics.

    Args:
        partitions: of its changelog; ``None`` takes the largest count of the sources.
        config: of its changelog.
    """

    def __init__(self, partitions: int | None = None, **config: str) -> None:
        self._partitions = partitions
        self._config = {name.replace("_", "."): value for name, value in config.items()}

    def specs(self, sources: Mapping[str, int]) -> Sequence[TopicSpec]:
        """One compacted topic."""
        count = self._partitions or max(sources.values())
        return [TopicSpec("changelog", count, config={"cleanup.policy": "compact"} | self._config)]


def topics(**partitions: int | None) -> dict[str, Topic[Any, Any]]:
    """Definitions by name, with or without a partition count."""
    return {name: Topic(name, schema=Schema(), partitions=count) for name, count in partitions.items()}


async def declared(
    lab: Lab,
    definitions: dict[str, Topic[Any, Any]],
    *sources: str,
    changelogs: Any = None,
    derived: Collection[str] = (),
    **settings: Any,
) -> dict[str, int]:
    """Declare, and return the partition counts that the cluster has then."""
    participants: list[Participant] = [changelogs] if changelogs else []
    admin = lab.transport.admin()
    await admin.start()
    counts = await declare(
        admin, definitions, sources, participants, EngineSettings("app", **settings), derived=derived
    )
    found = {name: info.partitions for name, info in lab.cluster.topics().items()}
    assert counts.items() <= found.items()
    return found


async def test_what_exists_is_taken(lab: Lab) -> None:
    """A topic that exists keeps its partitions, and new outputs get as many as the sources."""
    lab.cluster.create(TopicSpec("source", 3))
    found = await declared(lab, topics(source=None, out=None), "source")
    assert found == {"source": 3, "out": 3}


async def test_definitions_and_settings_come_first(lab: Lab) -> None:
    """``partitions=`` decides, then the setting, then the count of the sources."""
    definitions = topics(source=None, named=2, out=None)
    assert await declared(lab, definitions, "source", default_partitions=5) == {"source": 5, "named": 2, "out": 5}


async def test_sources_that_do_not_exist(lab: Lab) -> None:
    """Without any hint a source gets the default, and outputs as many as the largest source."""
    assert await declared(lab, topics(one=None, two=4, out=None), "one", "two") == {
        "one": PARTITIONS,
        "two": 4,
        "out": PARTITIONS,
    }


async def test_another_count_is_refused(lab: Lab) -> None:
    """A definition that says another count than the topic has is refused, with both numbers; nothing is created."""
    lab.cluster.create(TopicSpec("source", 3))
    with pytest.raises(TopicMismatchError, match="topic source has 3 partitions, and its definition says partitions=4"):
        await declared(lab, topics(source=4, out=None), "source")
    assert list(lab.cluster.topics()) == ["source"]


async def test_creation_can_be_forbidden(lab: Lab) -> None:
    """Where topics may not be created, those that are missing are listed."""
    lab.cluster.create(TopicSpec("source", 3))
    message = r"topics do not exist: out \(3 partitions\), changelog \(3 partitions\)"
    with pytest.raises(UnknownTopicError, match=message):
        await declared(lab, topics(source=None, out=None), "source", changelogs=Changelogs(), allow_declare=False)
    assert list(lab.cluster.topics()) == ["source"]


async def test_creation_is_not_needed(lab: Lab) -> None:
    """When all topics exist it does not matter whether they may be created."""
    lab.cluster.create(TopicSpec("source", 3))
    assert await declared(lab, topics(source=None), "source", allow_declare=False) == {"source": 3}


async def test_changelogs_are_compacted(lab: Lab) -> None:
    """Changelogs are created with their configuration."""
    assert (await declared(lab, topics(source=2), "source", changelogs=Changelogs()))["changelog"] == 2
    assert lab.cluster.topic("changelog").config["cleanup.policy"] == "compact"


async def test_a_changelog_with_another_count_is_refused(lab: Lab) -> None:
    """A changelog must have the partitions of its sources: otherwise keys would meet foreign state."""
    lab.cluster.create(TopicSpec("changelog", 8, config={"cleanup.policy": "compact"}))
    with pytest.raises(TopicMismatchError, match="changelog changelog has 8 partitions, and its sources have 2"):
        await declared(lab, topics(source=2), "source", changelogs=Changelogs())


async def test_a_changelog_that_forgets_is_refused(lab: Lab) -> None:
    """A changelog that is not compacted is refused, with the command that mends it."""
    lab.cluster.create(TopicSpec("changelog", 2))
    with pytest.raises(TopicMismatchError, match=r"has cleanup\.policy=delete, which would lose state.*--add-config"):
        await declared(lab, topics(source=2), "source", changelogs=Changelogs())


async def test_a_changelog_that_deletes_what_does_not_expire_is_refused(lab: Lab) -> None:
    """As where a table has had windows before: it would lose what nobody assigns for a while; one that deletes nothing is taken."""
    deleting = {"cleanup.policy": "compact,delete"}
    lab.cluster.create(TopicSpec("changelog", 2, config=deleting | {"retention.ms": "1000"}))
    with pytest.raises(
        TopicMismatchError, match=r"has cleanup\.policy=compact,delete, which would lose state.*--add-config"
    ):
        await declared(lab, topics(source=2), "source", changelogs=Changelogs())
    lab.cluster.delete("changelog")
    lab.cluster.create(TopicSpec("changelog", 2, config=deleting | {"retention.ms": "-1"}))
    await declared(lab, topics(source=2), "source", changelogs=Changelogs())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"cleanup.policy": "compact,delete", "retention.ms": "1000"},
            "for 1 s (retention.ms=1000), and its table needs them for 5 s",
        ),
        ({"cleanup.policy": "compact"}, "has cleanup.policy=compact: what has expired stays in it"),
        ({"cleanup.policy": "compact,delete", "retention.ms": "5000"}, ""),
        (
            {"cleanup.policy": "compact,delete", "retention.ms": "-1"},
            "has retention.ms=-1: what has expired stays in it",
        ),
    ],
)
async def test_a_changelog_that_keeps_less_or_more_than_its_table_is_told(
    lab: Lab, caplog: pytest.LogCaptureFixture, config: dict[str, str], said: str
) -> None:
    """As where windows expire later than before, or have expired never: with the command that mends it."""
    lab.cluster.create(TopicSpec("changelog", 2, config=config))
    wanted = Changelogs(cleanup_policy="compact,delete", retention_ms="5000")
    await declared(lab, topics(source=2), "source", changelogs=wanted)
    assert said in caplog.text
    assert (
        "--entity-name changelog --add-config cleanup.policy=[compact,delete],retention.ms=5000" in caplog.text
    ) is bool(said)


class Overtaken(MemoryAdmin):
    """An admin client that somebody else is quicker than, once."""

    others: ClassVar[list[TopicSpec]] = []

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create what others create, then the topics."""
        while self.others:
            self._cluster.create(self.others.pop())
        await super().create(specs)


async def test_the_partitions_of_whoever_was_quicker_count(lab: Lab) -> None:
    """Topics that follow a source have its count, not the one that this worker asked for; a definition is compared with it."""
    Overtaken.others = [TopicSpec("source", 3)]
    admin = Overtaken(lab.cluster)
    await admin.start()
    participants: list[Any] = [Changelogs()]
    counts = await declare(admin, topics(source=None, out=None), ["source"], participants, EngineSettings("app"))
    assert counts["source"] == 3
    found = {name: info.partitions for name, info in lab.cluster.topics().items()}
    assert found == {"source": 3, "out": 3, "changelog": 3}

    Overtaken.others = [TopicSpec("named", 3)]
    with pytest.raises(TopicMismatchError, match="topic named has 3 partitions, and its definition says partitions=4"):
        await declare(admin, topics(named=4), ["named"], [], EngineSettings("app"))


@pytest.mark.parametrize("old", [True, False])
async def test_a_topic_between_that_faust_has_filled_is_told_of_once(
    lab: Lab, caplog: pytest.LogCaptureFixture, old: bool
) -> None:
    """What lies unread under the name that Faust gives to a topic of ``group_by`` is not read: the first start says so."""
    lab.cluster.create(TopicSpec("source", 2))
    if old:
        lab.cluster.create(TopicSpec("count-source-key-repartition", 2))
    definitions = topics(**{"source": None, "app-count-source-key-repartition": None})
    for _ in range(2):
        await declared(lab, definitions, *definitions, derived=["app-count-source-key-repartition"])
    told = [
        one.getMessage() for one in caplog.records if "count-source-key-repartition has the name" in one.getMessage()
    ]
    assert len(told) == old
    assert all("let the old workers finish" in one for one in told)


async def test_a_broker_that_does_not_tell_of_others_topics_holds_up_no_start(lab: Lab) -> None:
    """A user may have no permission for what is not of its app."""
    lab.cluster.create(TopicSpec("source", 2))
    admin = lab.transport.admin()
    await admin.start()
    describe = admin.describe

    async def refusing(names: Collection[str], *, config: bool = True) -> Any:
        if "count-repartition" in names:
            raise TransportError("no permission to describe topic count-repartition; grant Describe on it")
        return await describe(names, config=config)

    admin.describe = refusing  # type: ignore[method-assign]
    definitions = topics(**{"source": None, "app-count-repartition": None})
    await declare(admin, definitions, definitions, [], EngineSettings("app"), derived=["app-count-repartition"])
    assert lab.cluster.topics()["app-count-repartition"].partitions == 2
