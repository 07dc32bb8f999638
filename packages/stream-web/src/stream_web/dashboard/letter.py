"""The page of one dead letter: what the record was, why its event failed, and how it is tried again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode

import msgspec

from stream_core.counters import Failure
from stream_core.primitives import TP, RawRecord
from stream_core.sending.dead_letters import PREFIX
from stream_web.dashboard.markup import Child, Element, el, page_of

__all__ = ["letter_document", "letter_query"]

TEXT = 20_000
"""Characters of a key, a value or a header that are shown."""

BINARY = 512
"""Bytes that are shown of what is not text."""

HEADERS = 100
"""How many headers are shown."""


def letter_query(failure: Failure) -> str:
    """Make the query of the page of a letter: it stands after the path of the dashboard, whichever that is."""
    names = {"agent": failure.reader, "topic": failure.topic, "partition": failure.partition, "offset": failure.offset}
    return urlencode(names)


def letter_document(
    app: str, failure: Failure | None, found: tuple[TP, RawRecord] | None, trouble: str, base: str
) -> str:
    """Write the whole page.

    Args:
        app: id of the app.
        failure: what the worker tells of it; ``None`` when it knows nothing.
        found: where the letter is, and the letter; ``None`` when it was not found.
        trouble: why there is nothing to see.
        base: where the files of the dashboard are, seen from the page: empty, or a path that ends with a slash.
    """
    title = "Dead letter" if failure is None else f"Dead letter of {failure.topic} {failure.partition}:{failure.offset}"
    parts: list[Element] = []
    if failure is not None:
        parts.append(_section("Failure", _failure(failure, None if found is None else found[1])))
    if found is not None:
        parts.append(_section("Record", _record(found[1])))
    elif not trouble:
        trouble = (
            "The letter is not among the last ones of its topic: it is not committed yet, or its retention is over."
        )
    if trouble:
        parts.append(el("section", el("h2", "Record", id="h-record"), el("p", trouble)))
    parts.append(_commands(app, failure, found))
    return page_of(
        f"{title} \u2013 {app}",
        base,
        el("header", el("h1", title)),
        el("nav", el("ul", el("li", el("a", f"All of {app}", href="./"))), aria_label="Way back"),
        el("main", *parts, id="content", tabindex=-1),
    )


def _section(title: str, rows: list[tuple[str, Child]]) -> Element:
    """List names and what they are, in a way that wraps on a phone."""
    told = [part for name, value in rows for part in (el("dt", name), el("dd", value))]
    return el("section", el("h2", title), el("dl", *told, class_="facts"))


def _failure(failure: Failure, letter: RawRecord | None) -> list[tuple[str, Child]]:
    told = {} if letter is None else {name: data for name, data in letter.headers if name.startswith(PREFIX)}
    kind, message, traceback = (_text(told.get(PREFIX + part)) for part in ("error-type", "error-message", "traceback"))
    rows: list[tuple[str, Child]] = [
        ("Error", el("code", f"{kind}: {message}" if kind else failure.error)),
        ("Agent", el("code", failure.reader)),
        ("Came from", f"{failure.topic}, partition {failure.partition}, offset {failure.offset}"),
        ("Failed at", _moment(failure.time)),
    ]
    if failure.times > 1:
        rows.append(("Times", failure.times))
    rows.append(("Traceback", el("code", traceback) if traceback else "in the log of its worker, at that time"))
    return rows


def _record(letter: RawRecord) -> list[tuple[str, Child]]:
    timestamp = next((_text(data) for name, data in letter.headers if name == f"{PREFIX}timestamp"), "")
    own = [(name, data) for name, data in letter.headers if not name.startswith(PREFIX)]
    rows: list[tuple[str, Child]] = [("Key", _shown(letter.key)), ("Value", _shown(letter.value))]
    if timestamp.isdecimal() and len(timestamp) < 15:
        rows.append(("Its time", _moment(int(timestamp) / 1000)))
    rows += [(f"Header {name}", _shown(data)) for name, data in own[:HEADERS]]
    if len(own) > HEADERS:
        rows.append(("Headers", f"and {len(own) - HEADERS} more"))
    return rows


def _commands(app: str, failure: Failure | None, found: tuple[TP, RawRecord] | None) -> Element:
    """Show what to type; the page itself changes nothing."""
    name = "LETTER" if found is None else f"{found[0].partition}:{found[1].offset}"
    topic = "" if failure is None or failure.letters == f"{app}-dead-letter" else f" --topic {failure.letters}"
    rows = [
        ("lists the letters that are not done with", f"dlq list{topic}"),
        ("shows it decoded by the types of the app", f"dlq show {name}{topic}"),
        ("sends its record to where it came from, to be worked on again", f"dlq retry {name}{topic}"),
        ("puts it away: it is listed no more", f"dlq drop {name}{topic}"),
    ]
    return el(
        "section",
        el("h2", "What to do"),
        el("p", "Mend the agent first. MODULE is that of the app.", class_="quiet"),
        el(
            "dl",
            *(
                part
                for what, command in rows
                for part in (el("dt", el("code", f"stream -A MODULE {command}")), el("dd", what))
            ),
        ),
    )


def _moment(seconds: float) -> Element:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return el("span", f"{seconds:g} s since 1970")
    return el("time", f"{moment:%Y-%m-%d %H:%M:%S} UTC", datetime=f"{moment:%Y-%m-%dT%H:%M:%SZ}")


def _text(data: bytes | None) -> str:
    return (data or b"")[:TEXT].decode(errors="replace")


def _shown(data: bytes | None) -> Element:
    """Show bytes as JSON or text where they are that, else in hexadecimal; bounded."""
    if data is None:
        return el("span", "none", class_="quiet")
    if not data:
        return el("span", "empty", class_="quiet")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or any(character < " " and character not in "\t\r\n" for character in text[:TEXT]):
        more = f" \u2026 {len(data)} bytes in all" if len(data) > BINARY else ""
        return el("code", data[:BINARY].hex(" ") + more)
    if len(text) <= TEXT and text[:1] in "{[":
        with suppress(msgspec.DecodeError, RecursionError):
            text = msgspec.json.format(text, indent=2)
    more = f" \u2026 {len(data)} bytes in all" if len(text) > TEXT else ""
    return el("code", text[:TEXT] + more)
