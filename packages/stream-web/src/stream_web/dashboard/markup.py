"""Makes HTML and SVG of elements, so that text from anywhere is text and never markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

__all__ = ["Child", "Element", "el", "html_of", "svg_of"]

Element = ElementTree.Element
Child = Element | str | int | float | None

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no document may have: names of topics and errors may."""


def el(tag: str, *children: Child, **attributes: str | int | float | bool | None) -> Element:
    """Make an element.

    Args:
        tag: its name.
        children: elements, and text and numbers as they are; ``None`` is left out.
        attributes: an underscore stands for a dash, and one at the end is dropped: ``class_``. ``True`` is one without a value, and those
            that are ``None`` or ``False`` are left out.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            made.set(name.rstrip("_").replace("_", "-"), "" if value is True else _clean(str(value)))
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif child is not None:
            text = _clean(str(child))
            if last is None:
                made.text = (made.text or "") + text
            else:
                last.tail = (last.tail or "") + text
    return made


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


def html_of(*elements: Element) -> str:
    """Write elements as HTML."""
    return "".join(ElementTree.tostring(one, encoding="unicode", method="html") for one in elements)


def svg_of(element: Element) -> str:
    """Write an element as a document of its own."""
    element.set("xmlns", "http://www.w3.org/2000/svg")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(element, encoding="unicode")
