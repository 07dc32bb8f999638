"""Topics at start: look at those that exist, create those that do not, refuse those that do not fit."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from stream_core.engine.participants import Participant
from stream_core.errors import (
    AuthenticationError,
    BrokerUnavailableError,
    DeadlineError,
    TopicMismatchError,
    TransportError,
    UnknownTopicError,
)
from stream_core.ports import Admin
from stream_core.primitives import TopicInfo, TopicSpec
from stream_core.sending.topic import AnyTopic
from stream_core.settings import EngineSettings

__all__ = ["declare", "declare_late"]

logger = logging.getLogger(__name__)

PARTITIONS = 8
"""Partitions of a source topic that does not exist and whose definition does not say."""


async def declare(
    admin: Admin,
    topics: Mapping[str, AnyTopic],
    sources: Collection[str],
    participants: Sequence[Participant],
    settings: EngineSettings,
    *,
    derived: Collection[str] = (),
) -> dict[str, int]:
    """Make sure that all topics exist and fit.

    Partitions of a topic that is created: its ``partitions=``, else the setting ``topic_partitions``, else 8 where it is read and not
    filled by the app itself, and as many as the largest of those for all others.

    Args:
        admin: of the cluster.
        topics: all topics by name.
        sources: those that are read.
        participants: the tables, which name their changelogs.
        settings: of the engine.
        derived: the sources that the app itself fills; they follow the others.

    Returns:
        the partition count of each topic.

    Raises:
        UnknownTopicError: a topic does not exist, and ``topic_allow_declare`` is off.
        TopicMismatchError: a topic has other partitions, or another cleanup policy, than its definition needs.
    """
    existing = await admin.describe(list(topics))
    for name, topic in topics.items():
        if name in existing:
            _check_count(topic, existing[name].partitions)
    counts = {name: info.partitions for name, info in existing.items()}
    missing = [name for name in topics if name not in existing]
    await _look_for_others(admin, [name for name in missing if name in derived], settings.group)
    leading = set(sources) - set(derived)
    specs = [_spec(topics[name], settings, PARTITIONS) for name in missing if name in leading]
    counts |= {spec.name: spec.partitions for spec in specs}
    common = max((counts[name] for name in leading), default=PARTITIONS)
    specs += [_spec(topics[name], settings, common) for name in missing if name not in leading]
    counts |= {spec.name: spec.partitions for spec in specs}
    changelogs = [spec for participant in participants for spec in participant.specs({s: counts[s] for s in sources})]
    found = await admin.describe([spec.name for spec in changelogs])
    for spec in changelogs:
        if spec.name in found:
            _check(spec, found[spec.name])
        elif spec.name not in missing:  # else it is read, too, and made as it is described
            specs.append(spec)
    _allow(specs, settings)
    # The others follow what is led, which somebody else may have been quicker to make, with another number of partitions.
    for some in (
        [spec for spec in specs if spec.name in leading],
        [spec for spec in specs if spec.name not in leading],
    ):
        if not await _create_as_asked(admin, some):
            return await declare(admin, topics, sources, participants, settings, derived=derived)
    return counts


async def declare_late(admin: Admin, topic: AnyTopic, settings: EngineSettings, sources: Iterable[int]) -> None:
    """Make sure that a topic exists and fits which was described since the start, before the first record goes to it.

    Args:
        admin: of the cluster.
        topic: it is created as its definition says; where neither that nor a setting says how many partitions, with as many as the largest
            source.
        settings: of the engine.
        sources: the partition counts of what is read.

    Raises:
        UnknownTopicError: it does not exist, and ``topic_allow_declare`` is off, or the broker refuses to create it.
        TopicMismatchError: it has other partitions than its definition says.
        TransportError: the broker does not answer, or refuses to describe it.
    """
    spec = _spec(topic, settings, max(sources, default=PARTITIONS))
    found, refused = (await admin.describe([topic.name], config=False)).get(topic.name), None
    if found is None:
        _allow([spec], settings)
        try:
            await _create(admin, [spec])
        except (BrokerUnavailableError, AuthenticationError, DeadlineError):
            raise
        except TransportError as error:  # an answer; it may have been made all the same, or by somebody else
            refused = error
        found = (await admin.describe([topic.name], config=False)).get(topic.name)
    if found is not None:
        _check_count(topic, found.partitions)
    elif refused is not None:  # to ask again would not help the event that sends there
        raise UnknownTopicError(f"topic {topic.name} does not exist, and is not created: {refused}") from refused


def _check_count(topic: AnyTopic, partitions: int) -> None:
    if topic.partitions is not None and topic.partitions != partitions:
        raise TopicMismatchError(
            f"topic {topic.name} has {partitions} partitions, and its definition says partitions={topic.partitions}; "
            "change the definition, or leave partitions out to take what exists"
        )


async def _look_for_others(admin: Admin, made: Sequence[str], app_id: str) -> None:
    """Tell of topics with the names that Faust gives to those of ``group_by``: what lies unread in them stays there.

    Args:
        admin: of the cluster.
        made: the topics between that are created now, which happens at the first start of an app only.
        app_id: with which the names of ours begin.
    """
    prefix = f"{app_id}-"
    others = [name.removeprefix(prefix) for name in made if name.startswith(prefix)]
    if not others:
        return
    try:
        found = await admin.describe(others, config=False)
    except TransportError as error:  # an app needs no permission for topics of others, and goes on without this look
        logger.debug("topics of others are not looked at: %s", error)
        return
    for name in sorted(found):
        logger.warning(
            "topic %s has the name that Faust gives to what is %s%s here; if this app has filled it there, let the old workers finish "
            "before these start, or name it by group_by(topic=)",
            name,
            prefix,
            name,
        )


def _allow(specs: Sequence[TopicSpec], settings: EngineSettings) -> None:
    if specs and not settings.allow_declare:
        names = ", ".join(f"{spec.name} ({spec.partitions} partitions)" for spec in specs)
        raise UnknownTopicError(f"topics do not exist: {names}; create them, or set topic_allow_declare=True")


async def _create(admin: Admin, specs: Sequence[TopicSpec]) -> None:
    for spec in specs:
        logger.info("creating topic %s with %d partitions", spec.name, spec.partitions)
    await admin.create(specs)


async def _create_as_asked(admin: Admin, specs: Sequence[TopicSpec]) -> bool:
    """Create topics; returns whether they have the partitions that were asked for."""
    if not specs:
        return True
    await _create(admin, specs)
    made = await admin.describe([spec.name for spec in specs], config=False)
    return all(made[spec.name].partitions == spec.partitions for spec in specs if spec.name in made)


def _spec(topic: AnyTopic, settings: EngineSettings, otherwise: int) -> TopicSpec:
    partitions = topic.partitions or settings.default_partitions or otherwise
    return TopicSpec(topic.name, partitions, topic.replicas or settings.replication, topic.config)


def _check(spec: TopicSpec, info: TopicInfo) -> None:
    if info.partitions != spec.partitions:
        raise TopicMismatchError(
            f"changelog {spec.name} has {info.partitions} partitions, and its sources have {spec.partitions}: keys would meet "
            "foreign state; give the app a new version=, or create the source topic with the old count"
        )
    policy, wanted = info.config.get("cleanup.policy", ""), spec.config.get("cleanup.policy", "")
    keeps, needed = _keeps(info.config), _keeps(spec.config)
    if policy and ("compact" not in policy or ("delete" not in wanted and keeps is not None)):
        mended = _set(spec, f"cleanup.policy=[{wanted or 'compact'}]")
        raise TopicMismatchError(
            f"changelog {spec.name} has cleanup.policy={policy}, which would lose state; set it with: {mended}"
        )
    if not policy or needed is None:
        return
    told = _set(spec, f"cleanup.policy=[{wanted}],retention.ms={needed}")
    if keeps is None:
        what = "retention.ms=-1" if "delete" in policy else f"cleanup.policy={policy}"
        logger.warning(
            "changelog %s has %s: what has expired stays in it, and is read at each recovery; set it with: %s",
            spec.name,
            what,
            told,
        )
    elif keeps < needed:
        logger.warning(
            "changelog %s keeps records for %.0f s (retention.ms=%d), and its table needs them for %.0f s: without the disk of a worker "
            "it loses what could still be read; set it with: %s",
            spec.name,
            keeps / 1000,
            keeps,
            needed / 1000,
            told,
        )


def _keeps(config: Mapping[str, str]) -> int | None:
    """Tell for how many milliseconds a topic keeps records; ``None`` for ever, or where that is not said."""
    keeps = int(config.get("retention.ms", -1)) if "delete" in config.get("cleanup.policy", "") else -1
    return keeps if keeps >= 0 else None


def _set(spec: TopicSpec, config: str) -> str:
    return f"kafka-configs.sh --alter --entity-type topics --entity-name {spec.name} --add-config {config}"
