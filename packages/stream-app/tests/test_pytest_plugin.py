"""The plugin for pytest, in runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = """
import stream_app as faust

app = faust.App("plugged", broker="kafka://nowhere:1", topic_partitions=2)
numbers = app.topic("numbers", key_type=str, value_type=int)
totals = app.Table("totals", key_type=str, value_type=int, default=int)


@app.agent(numbers)
async def add(stream):
    async for event in stream.events():
        totals[event.key] += event.value
"""

TEST = """
from plugged import numbers, totals


def test_adds(stream_driver):
    stream_driver.produce(numbers, 1, key="a")
    assert stream_driver.table(totals) == {"a": 1}


def test_adds_again(stream_driver):
    stream_driver.produce(numbers, 2, key="a")
    assert stream_driver.table(totals) == {"a": 2}
"""


def pytest_in(directory: Path, *arguments: str, files: dict[str, str]) -> tuple[int, str]:
    """Run pytest in a directory with these files, and no plugin but this one; returns its exit code, and what it has printed."""
    for name, text in {"plugged.py": APP, **files}.items():
        (directory / name).write_text(text)
    options = ("-p", "stream_pytest", "-p", "no:cacheprovider", "-q", "-rsE", "--strict-markers", "-o", "pythonpath=.")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, *arguments],
        cwd=directory,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_setting_names_the_app(tmp_path: Path) -> None:
    """With stream_app in the configuration the fixture is all that a test needs, and each test begins anew."""
    code, said = pytest_in(tmp_path, "-o", "stream_app=plugged:app", files={"test_it.py": TEST})
    assert (code, "2 passed" in said) == (0, True), said


def test_a_fixture_may_make_the_app(tmp_path: Path) -> None:
    """A fixture named stream_app takes the place of the setting; it may give several apps."""
    conftest = "import pytest, plugged\n\n\n@pytest.fixture\ndef stream_app():\n    return (plugged.app,)\n"
    code, said = pytest_in(tmp_path, files={"test_it.py": TEST, "conftest.py": conftest})
    assert (code, "2 passed" in said) == (0, True), said


def test_a_marker_names_the_app_and_options(tmp_path: Path) -> None:
    """The marker wins over the setting, and has the options of the driver; it may have these alone."""
    marked = """
import pytest
from plugged import app


@pytest.mark.stream_app("plugged", now=0.0)
def test_named(stream_driver):
    assert stream_driver.now == 0.0


@pytest.mark.stream_app(app, processing_guarantee="exactly_once")
def test_given(stream_driver):
    assert app.conf.exactly_once


@pytest.mark.stream_app(now=5.0)
def test_options(stream_driver):
    assert stream_driver.now == 5.0 and not app.conf.exactly_once
"""
    code, said = pytest_in(tmp_path, "-o", "stream_app=plugged:app", files={"test_it.py": marked})
    assert (code, "3 passed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("stream_app=", "stream_driver does not know the app"), ("stream_app=plugged:ap", "cannot be loaded")],
)
def test_an_app_that_is_not_found_is_explained(tmp_path: Path, option: str, sentence: str) -> None:
    """The error says where to write its name."""
    code, said = pytest_in(tmp_path, "-o", option, files={"test_it.py": TEST})
    assert code == 1
    assert sentence in said


def test_a_body_that_raises_fails_the_test(tmp_path: Path) -> None:
    """The report shows the line of the body, and which event it was."""
    failing = "from plugged import numbers\n\n\ndef test_it(stream_driver):\n    stream_driver.produce(numbers, 1)\n"
    code, said = pytest_in(tmp_path, "-o", "stream_app=plugged:app", files={"test_it.py": failing})
    assert code == 1
    assert "totals[event.key] += event.value" in said
    assert "add[0] failed at numbers-0 offset 0" in said


def test_the_plugin_loads_no_app(tmp_path: Path) -> None:
    """Whoever runs pytest without the fixture does not pay for the packages of Stream."""
    test = "import sys\n\n\ndef test_it():\n    assert not [m for m in sys.modules if m.startswith(('stream_app', 'stream_core'))]\n"
    code, said = pytest_in(tmp_path, files={"test_it.py": test})
    assert (code, "1 passed" in said) == (0, True), said
