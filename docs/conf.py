"""Configuration of Sphinx for these pages: Markdown by MyST, the theme furo, the reference by autodoc."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from pictures import Picture
from timelines import Timeline

project = "Stream"
author = "the Stream authors"
project_copyright = f"{author}, Apache-2.0"
version = release = version_of("stream-app")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"Stream {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["stream.css"]

copybutton_selector = "div:not(.highlight-output) > div.highlight > pre"  # nobody types what a program prints
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    # whatever is inherited belongs to a class as well, but for what every service, error, tuple or mapping of Python has
    "inherited-members": "Service, BaseException, Struct, Enum, tuple, dict, Mapping, Protocol, Generic, Thread, Handler",
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def tidy(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Mend docstrings before napoleon reads them.

    It takes the text before a colon for a type, in the first line of a property and of Returns; an empty comment in front of that line
    keeps it a sentence. And a named tuple says nothing of its fields.
    """
    if what in ("attribute", "property"):
        lines[:] = [] if lines[:1] and lines[0].startswith("Alias for field") else ["..", "", *lines]
    for at in [number for number, line in enumerate(lines, 1) if line == "Returns:"]:
        lines[at:at] = ["    ..", ""]


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: Any) -> bool | None:
    """Leave out the classes that an app has as attributes: each is described once, where it is defined."""
    return True if what == "class" and isinstance(obj, type) else None


def setup(app: Sphinx) -> None:
    """Connect the events, and add the directives."""
    app.add_directive("picture", Picture)
    app.add_directive("timeline", Timeline)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", tidy, priority=400)
