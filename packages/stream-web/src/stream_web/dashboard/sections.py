"""Writes the parts of the dashboard. Each part is written anew from a :class:`~stream_web.dashboard.views.Cluster`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import uuid4

from stream_core.counters import Failure
from stream_core.engine.graph import Edge, shortest_end
from stream_core.engine.snapshot import Recovery, TablePartitionSnapshot
from stream_web.dashboard.charts import COLOURS, amount, chart, partitions, ranges
from stream_web.dashboard.drawing import drawn
from stream_web.dashboard.letter import letter_query
from stream_web.dashboard.markup import Child, Element, el, html_of, page_of
from stream_web.dashboard.views import Cluster, Worker, natural

__all__ = ["FAILURES", "document", "parts_of"]

FAILURES = 30
"""How many failures are shown."""


LATEST = 4e9
"""The last moment that is shown, in seconds since the epoch: another worker may tell any number."""

_TOKEN = uuid4().hex
"""Stands where a part of the page goes; nobody can write it into a name or a message."""

_HOLE = re.compile(_TOKEN + r"(\w+)\.")


class Section(NamedTuple):
    """One part of the page that is written anew again and again.

    Attributes:
        id: its id in the page.
        title: its heading.
        write: writes it.
    """

    id: str
    title: str
    write: Callable[[Cluster], list[Element]]


def parts_of(cluster: Cluster, edges: Sequence[Edge]) -> dict[str, str]:
    """Write all parts of the page that change, by their ids."""
    made = {section.id: html_of(*section.write(cluster)) for section in SECTIONS}
    made["graph"] = _graph(tuple(edges), cluster.app)
    return made


def document(app: str, parts: Mapping[str, str], settings: Iterable[Any], base: str) -> str:
    """Write the whole page.

    Args:
        app: id of the app.
        parts: what :func:`parts_of` gives.
        settings: rows with ``name``, ``value`` and ``source``.
        base: where its files are, seen from the page: empty, or a path that ends with a slash.
    """
    titles = [*((one.id, one.title) for one in SECTIONS[1:]), ("graph", "What flows where")]
    page = page_of(
        f"{app} \u2013 Stream",
        base,
        el(
            "header",
            el("h1", app),
            el("div", _hole("status"), id="status", role="status"),
            el(
                "div",
                el("span", id="connection", class_="quiet"),
                el("button", "Pause", id="pause", type="button", aria_pressed="false", hidden=True),
                class_="controls",
            ),
        ),
        el(
            "nav",
            el(
                "ul",
                *(el("li", el("a", title, href=f"#h-{id_}")) for id_, title in [*titles, ("settings", "Settings")]),
            ),
            aria_label="Parts of this page",
        ),
        el(
            "main",
            *(
                el(
                    "section",
                    el("h2", title, id=f"h-{id_}"),
                    _scrolling(id_, title),
                )
                for id_, title in titles
            ),
            _settings(settings),
            id="content",
            tabindex=-1,
        ),
        el("noscript", el("p", "Without scripts this page shows one moment: reload it for another one.")),
        head=(
            el("link", rel="stylesheet", href=f"{base}graph.css"),
            el("script", src=f"{base}dashboard.js", defer=True),
        ),
    )
    return _HOLE.sub(lambda hole: parts.get(hole[1], ""), page)


def _hole(id_: str) -> str:
    return f"{_TOKEN}{id_}."


def _scrolling(id_: str, title: str) -> Element:
    """Frame what may be wider than the screen: it can be reached and moved by the keyboard."""
    if id_ == "numbers":
        return el("div", _hole(id_), id=id_)
    return el("div", _hole(id_), id=id_, class_="scroll", role="region", aria_label=title, tabindex=0)


def _settings(rows: Iterable[Any]) -> Element:
    shown = [(one.name, one.value, one.source) for one in rows]
    return el(
        "section",
        el("h2", "Settings", id="h-settings"),
        el(
            "details",
            el("summary", f"The {len(shown)} settings of this worker; credentials are shown as ***"),
            el(
                "div",
                _table("Settings", ("Setting", "Value", "From"), shown),
                class_="scroll",
                role="region",
                aria_label="Settings",
                tabindex=0,
            ),
        ),
    )


# -- the parts


def _status(cluster: Cluster) -> list[Element]:
    workers = cluster.workers
    failed = [one.number for one in workers if one.view is not None and one.view.failed]
    silent = [one.number for one in workers if one.view is None]
    waiting = [one for one in workers if one.view is not None and not one.view.ready and not one.view.failed]
    if failed:
        return [_badge("bad", f"worker {ranges(failed)} has failed")]
    if silent:
        return [_badge("warn", f"worker {ranges(silent)} is not heard")]
    if waiting:
        reasons = sorted({one.view.reason for one in waiting if one.view is not None})
        return [_badge("warn", f"worker {ranges(one.number for one in waiting)}: {', '.join(reasons)}")]
    if not cluster.settled:
        return [_badge("warn", "partitions are on the move")]
    return [_badge("good", "all workers are ready" if len(workers) > 1 else "ready")]


def _numbers(cluster: Cluster) -> list[Element]:
    series, now = cluster.series(), cluster.moment
    return [
        el(
            "div",
            chart("Events finished", "/s", series.finished, now),
            chart("Records sent", "/s", series.sent, now),
            chart("Lag", "", series.lag, now),
            class_="charts",
        )
    ]


def _workers(cluster: Cluster) -> list[Element]:
    rows = []
    for worker in cluster.workers:
        view = worker.view
        owned = sum(number == worker.number for topic in cluster.owners.values() for number in topic.values())
        rows.append(
            (
                _mark(worker.number),
                el("span", _link(worker), el("small", " this one") if worker.here else None),
                _health(worker),
                owned,
                "" if view is None else amount(sum(one.lag or 0 for one in view.partitions)),
                "" if view is None else amount(view.commits),
                "" if view is None else f"{view.last_commit * 1000:.0f} ms",
                "" if view is None else view.drops,
            )
        )
    heads = ("No.", "Worker", "State", "Partitions", "Lag", "Commits", "Last commit took", "Dropped intervals")
    return [_table("Workers", heads, rows, numbers=range(3, 8))]


def _agents(cluster: Cluster) -> list[Element]:
    agents = cluster.agents()
    names = [one.name for one in agents]
    rows = [
        (
            el("span", _short(one.name, names), title=one.name),
            ", ".join(one.topics[:3]) + (f" and {len(one.topics) - 3} more" if len(one.topics) > 3 else ""),
            f"{one.running}",
            amount(one.rate) + "/s",
            amount(one.finished),
            amount(one.open),
            amount(one.waiting),
            _count(one.failures),
            _count(one.skipped),
            _count(one.dead_letters),
        )
        for one in agents
    ]
    heads = ("Agent", "Reads", "Actors", "Rate", "Finished", "Open", "Waiting", "Failures", "Skipped", "Dead letters")
    return _table_or("Agents", heads, rows, range(2, 10), "The app has no agents.")


def _topics(cluster: Cluster) -> list[Element]:
    traffic, owned = cluster.topics(), cluster.partitions()
    rows = []
    for name in sorted({*traffic, *owned, *cluster.owners}, key=natural):
        one = traffic.get(name)
        parts = owned.get(name, {})
        unreadable = [number for number, part in sorted(parts.items()) if part.unreadable]
        known = [part.lag for part in parts.values() if part.lag is not None]
        rows.append(
            (
                el("span", name, id=f"topic-{name}"),
                len(cluster.owners.get(name, {})) or "",
                amount(sum(known)) if known else "",
                "" if one is None else amount(one.received_rate) + "/s",
                "" if one is None else amount(one.received),
                "" if one is None else amount(one.sent_rate) + "/s",
                "" if one is None else amount(one.sent),
                _badge("bad", f"{ranges(unreadable)} cannot be read") if unreadable else "",
            )
        )
    heads = ("Topic", "Partitions", "Lag", "Receiving", "Received", "Sending", "Sent", "Trouble")
    return _table_or("Topics", heads, rows, range(1, 7), "Nothing came from a topic, or went to one.")


def _partitions(cluster: Cluster) -> list[Element]:
    known = cluster.partitions()
    made = []
    for topic, owners in sorted(cluster.owners.items(), key=lambda one: natural(one[0])):
        notes = {
            number: (f", lag {part.lag}" if part.lag is not None else "") + f", {part.state}"
            for number, part in known.get(topic, {}).items()
        }
        made.append(el("h3", topic))
        made.append(partitions(topic, owners, notes))
    if not made:
        return [el("p", "No worker owns a partition yet.", class_="quiet")]
    numbers = el(
        "ul", *(el("li", _mark(one.number), f" {one.url or one.instance}") for one in cluster.workers), class_="legend"
    )
    return [numbers, *made]


def _tables(cluster: Cluster) -> list[Element]:
    rows = []
    for name, parts in cluster.tables().items():
        running = sum(one.state == "running" for one in parts)
        other = sorted({one.state for one in parts if one.state != "running"})
        rows.append(
            (
                name,
                parts[0].changelog,
                len(parts),
                _badge("warn", f"{running} run, others: {', '.join(other)}") if other else _badge("good", "running"),
                _recovery(parts),
                _sum(one.stored_keys for one in parts),
                _sum((one.stored_bytes for one in parts), "B"),
                amount(sum(one.changed_keys for one in parts)),
            )
        )
    heads = ("Table", "Changelog", "Partitions", "State", "Recovery", "Keys", "Size", "Keys not committed")
    return _table_or("Tables", heads, rows, (2, 5, 6, 7), "The app has no tables, or no partition of one yet.")


def _sum(numbers: Iterable[int | None], unit: str = "") -> str:
    """Add up what is known, about; empty when nothing is."""
    known = [number for number in numbers if number is not None]
    return f"{amount(sum(known))} {unit}".rstrip() if known else ""


def _recovery(parts: Sequence[TablePartitionSnapshot]) -> Child:
    recovery = Recovery.of(parts)
    if recovery is None:
        return ""
    done = min(recovery.done, recovery.total)
    left = f", {recovery.left:.0f} s" if recovery.left is not None else ""
    words = f"{done * 100 // recovery.total} %, {amount(recovery.total - done)} records left{left}"
    return el("span", el("progress", value=done, max=recovery.total, aria_label=words), f" {words}")


def _failures(cluster: Cluster) -> list[Element]:
    rows = [
        (
            _time(one.time),
            _mark(number),
            el("span", _short(one.reader, [one.reader]), title=one.reader),
            _place(one),
            el("code", one.error),
            one.times,
            _then(one, number),
        )
        for number, one in cluster.failures(FAILURES)
    ]
    heads = ("Last", "Worker", "Agent", "Event", "Error", "Times", "Then")
    return _table_or("Failures", heads, rows, (5,), "No event has failed since the workers started.")


def _place(one: Failure) -> str:
    if not one.topic:
        return "outside of events"
    return f"{one.topic} {one.partition} offset {one.offset}" if one.partition >= 0 else one.topic


def _then(one: Failure, number: int) -> Child:
    if one.action == "dead_letter":
        query = letter_query(one)
        return el(
            "span",
            # The id keeps the focus of the keyboard where it is when this part is written anew.
            el("a", "dead letter", href=f"?{query}", id=f"letter-{number}-{query}"),
            " in ",
            el("a", one.letters, href=f"#topic-{one.letters}"),
        )
    return "is skipped" if one.action == "skip" else "the worker ends"


@lru_cache(maxsize=4)  # there is more than one app in some processes
def _drawn(edges: tuple[Edge, ...], title: str) -> str:
    return html_of(drawn(edges, title))


def _graph(edges: tuple[Edge, ...], app: str) -> str:
    """Draw what flows where, and say the same in words; once, since it changes hardly ever."""
    if not edges:
        return html_of(el("p", "Nothing flows yet: the app has no agents.", class_="quiet"))
    words = el(
        "details",
        el("summary", "The same in words"),
        el(
            "ul",
            *(
                el(
                    "li",
                    f"{one.source.kind} {one.source.name} \u2192 {one.target.kind} {one.target.name}"
                    + (f" ({one.label})" if one.label else ""),
                )
                for one in edges
            ),
        ),
    )
    return _drawn(edges, f"What flows where in {app}") + html_of(words)


SECTIONS: Sequence[Section] = (
    Section("status", "", _status),
    Section("numbers", "Now", _numbers),
    Section("workers", "Workers", _workers),
    Section("agents", "Agents", _agents),
    Section("topics", "Topics", _topics),
    Section("partitions", "Who owns which partitions", _partitions),
    Section("tables", "Tables", _tables),
    Section("failures", "Recent failures", _failures),
)


# -- pieces


def _table_or(
    title: str, heads: Sequence[str], rows: Sequence[Sequence[Child]], numbers: Collection[int], nothing: str
) -> list[Element]:
    return [_table(title, heads, rows, numbers=numbers)] if rows else [el("p", nothing, class_="quiet")]


def _table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: Collection[int] = ()
) -> Element:
    kinds = ["n" if column in numbers else None for column in range(len(heads))]
    return el(
        "table",
        el("caption", title, class_="hidden"),
        el(
            "thead",
            el("tr", *(el("th", head, scope="col", class_=kind) for head, kind in zip(heads, kinds, strict=True))),
        ),
        el(
            "tbody",
            *(el("tr", *(el("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows),
        ),
    )


def _short(name: str, names: Collection[str]) -> str:
    """Shorten the name of a reader; one behind a pipe has that of the topic between at its end."""
    front, slash, behind = name.partition("/")
    return f"{shortest_end(front, names)}{slash}{behind}"


def _mark(number: int) -> Element:
    return el("span", number, class_=f"mark w{(number - 1) % COLOURS}")


def _badge(kind: str, text: str) -> Element:
    return el("span", text, class_=f"badge {kind}")


def _count(number: int) -> Child:
    return _badge("bad", amount(number)) if number else "0"


def _health(worker: Worker) -> Element:
    view = worker.view
    if view is None:
        return _badge("bad", worker.trouble)
    if view.failed:
        return _badge("bad", "failed")
    return _badge("good", "ready") if view.ready else _badge("warn", view.reason or view.state)


def _link(worker: Worker) -> Element:
    """Link to the page of a worker, where its URL is one of a web server."""
    if worker.url.startswith(("http://", "https://")):
        return el("a", worker.url, href=f"{worker.url.rstrip('/')}/", id=f"worker-{worker.number}", rel="noreferrer")
    return el("span", worker.instance)


def _time(seconds: float) -> Element:
    moment = datetime.fromtimestamp(min(max(seconds, 0.0), LATEST), UTC)
    return el("time", f"{moment:%H:%M:%S} UTC", datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}", title=f"{moment:%Y-%m-%d}")
