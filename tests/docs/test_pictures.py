"""Pictures of the documentation are drawn from lines of text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The module that draws boxes and arrows."""
    return load("pictures")


@pytest.fixture(scope="module")
def timelines() -> ModuleType:
    """The module that draws instants and windows."""
    return load("timelines")


def load(name: str) -> ModuleType:
    """Load a module beside the configuration of Sphinx, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_boxes_and_arrows_are_drawn(pictures: ModuleType) -> None:
    """Each box has its lines, each arrow its label, and what is a sign of XML is text; the title is for those who cannot see."""
    svg = pictures.draw(
        "0,0 a <topic>: of x & y | twice\n1,0 agent: counts\na <topic> -> agent: events", "What goes where"
    )
    picture = ElementTree.fromstring(svg)
    texts = [element.text for element in picture.iter("text")]
    assert texts == ["events", "a <topic>", "of x & y", "twice", "agent", "counts"]
    assert picture.findtext("title") == "What goes where"
    assert len(picture.findall("g")) == 2


@pytest.mark.parametrize("line", ["a -> nobody", "0 a: no row", "a"])
def test_a_line_that_is_nothing_is_refused(pictures: ModuleType, line: str) -> None:
    """A line that is no box, and no arrow between boxes, is named."""
    with pytest.raises(ValueError, match=f"no box, and no arrow between boxes that stand above: {line}"):
        pictures.draw(f"0,0 a: box\n{line}", "")


def test_instants_and_windows_are_drawn(timelines: ModuleType) -> None:
    """Each row has its name, each mark its text; windows are as long as they say."""
    picture = ElementTree.fromstring(timelines.draw("a & b: 5 50\nsize: 0-60 60-100=late", "Where they are"))
    assert [element.text for element in picture.iter("text")] == ["a & b", "5", "50", "size", "0 to 60", "late"]
    first, second = (float(element.attrib["width"]) + 2 for element in picture.iter("rect"))
    assert first / second == pytest.approx(1.5)
    assert picture.findtext("title") == "Where they are"


@pytest.mark.parametrize("line", ["no name", "a: 1-x", "a: b"])
def test_a_row_that_is_nothing_is_refused(timelines: ModuleType, line: str) -> None:
    """A row needs a name, and instants or windows."""
    with pytest.raises(ValueError, match=r"neither an instant nor a window|each line has a name"):
        timelines.draw(f"a: 1 2\n{line}", "")
