"""The bar of a recovery: what it shows, when, and how it goes together with the log."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from stream_cli.recovering import CLEAR, LONG, Bar, recovery_bar
from stream_core.engine.snapshot import Recovery


class Terminal(io.StringIO):
    """A terminal of 200 columns."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def lines(self) -> list[str]:
        """What was drawn, one entry for each time."""
        return [part for part in self.getvalue().replace("\n", "\r").split("\r") if part.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal, and a log that is written to it; the log of pytest is left alone."""
    monkeypatch.setenv("COLUMNS", "200")
    terminal, handlers = Terminal(), logging.root.handlers[:]
    log = logging.StreamHandler(terminal)
    logging.root.addHandler(log)
    yield terminal
    logging.root.removeHandler(log)
    assert logging.root.handlers == handlers


def test_a_long_recovery_has_a_bar(terminal: Terminal) -> None:
    """It says how many partitions recover, how far they are, how fast, and how long the rest takes; and goes away at its end."""
    bar = Bar(terminal)
    bar.show(Recovery(3, 0, 1_000_000, 0.0, None))
    bar.show(Recovery(3, 400_000, 1_000_000, 200_000.0, 3.0))
    bar.show(Recovery(1, 950_000, 1_000_000, 500.0, 100.0))
    first, second, third = terminal.lines()[-3:]
    assert "recovering 3 table partitions" in first
    assert all(text in second for text in ("40%", "200,000 changelog offsets/s, 0:03 left"))
    assert all(text in third for text in ("recovering 1 table partitions", "95%", "1:40 left"))
    bar.show(None)
    assert terminal.getvalue().endswith(CLEAR)
    bar.show(None)


def test_a_short_recovery_has_none(terminal: Terminal) -> None:
    """Nothing is drawn for what is over at once, and nothing for a worker that does not recover."""
    bar = Bar(terminal)
    bar.show(None)
    bar.show(Recovery(1, 5, LONG, 10.0, 1.0))
    assert terminal.getvalue() == ""


def test_the_log_goes_on_above_it(terminal: Terminal) -> None:
    """A line of the log takes the place of the bar, and the bar is drawn below it, also when it has not moved."""
    bar, recovery = Bar(terminal), Recovery(1, 400_000, 1_000_000, 200_000.0, 3.0)
    bar.show(recovery)
    logging.getLogger("stream").warning("a line")
    bar.show(recovery)
    bar.show(None)
    logging.getLogger("stream").warning("another line")
    text = terminal.getvalue()
    assert f"{CLEAR}a line\n" in text
    assert "40%" in text.partition("a line\n")[2].partition("another line")[0]


def test_there_is_none_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing looks, and nothing is drawn, where standard error is a file."""

    def look() -> Recovery | None:
        raise AssertionError("nobody looks")

    with recovery_bar(look):
        pass
    assert capsys.readouterr() == ("", "")
