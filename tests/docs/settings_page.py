"""Makes ``docs/settings.md`` of the settings themselves: ``uv run python -m tests.docs.settings_page`` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from stream_app.settings import Settings
from stream_app.settings.faust_names import OTHER_DEFAULTS, REFUSED, RENAMED
from stream_app.settings.parameters import Parameter
from stream_app.settings.settings import parameters_of

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

MARK = "<!-- What follows is made of the settings: uv run python -m tests.docs.settings_page -->"
"""Above it the page is written by hand."""


def page(by_hand: str) -> str:
    """Give the whole page.

    Args:
        by_hand: the page as it is; what stands above the mark is kept.
    """
    head, mark, _ = by_hand.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has no line {MARK}")
    return "\n".join([head + MARK, "", *_sections(), *_faust()])


def _sections() -> Iterator[str]:
    parameters = parameters_of(Settings).values()
    for section, members in groupby(parameters, lambda parameter: parameter.section):
        title = getattr(section, "title", section.__name__)
        yield from (f"## {title}", "", inspect.cleandoc(section.__doc__ or "").replace("``", "`"), "")
        yield from ("| setting | values | default | variable | what it is |", "|---|---|---|---|---|")
        for one in members:
            variable = f"`{one.env}`" if one.env else ""
            if one.fallback_env:
                variable += f", for the default {' or '.join(f'`{name}`' for name in one.fallback_env)}"
            meaning = f"{one.help} *{one.cost}*" if one.cost else one.help
            yield f"| `{one.name}` | {one.kind} | {_default(one)} | {variable} | {meaning} |"
        yield ""


def _default(parameter: Parameter[Any]) -> str:
    if parameter.shown:
        return parameter.shown
    value = parameter.default(Settings("name", environ={}))
    if value is None or value in ("", []):
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _faust() -> Iterator[str]:
    yield from ("## Settings of Faust with other names", "", "| Faust | here |", "|---|---|")
    for old, new in sorted(RENAMED.items()):
        name, _, note = new.partition(" ")
        yield f"| `{old}` | `{name}` {note}".rstrip() + " |"
    yield from ("", "## Settings with another default than in Faust", "", "| setting | Faust | here |", "|---|---|---|")
    ours = parameters_of(Settings)
    for name, default in sorted(OTHER_DEFAULTS.items()):
        shown = default if " " in default else f"`{default.lower() if default in ('True', 'False') else default}`"
        yield f"| `{name}` | {shown} | {_default(ours[name])} |"
    yield from ("", "## Settings of Faust that are refused", "")
    yield from ("An app that has one of them is not made: it would rely on what does not happen.", "")
    yield from ("| setting | why | what to do |", "|---|---|---|")
    for name, (why, instead) in sorted(REFUSED.items(), key=lambda item: item[0].lower()):
        yield f"| `{name}` | {why} | {instead} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
