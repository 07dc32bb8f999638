"""Pictures of the documentation are drawn from lines of text."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The module beside the configuration of Sphinx, which is in no package."""
    spec = importlib.util.spec_from_file_location("pictures", Path(__file__).parents[2] / "docs" / "pictures.py")
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
