"""Makes HTML and SVG of elements, so that text from anywhere is text and never markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

__all__ = ["Child", "Element", "el", "html_of", "page_of", "svg_of"]

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


def page_of(title: str, base: str, *body: Child, head: Sequence[Element] = ()) -> str:
    """Write a whole page, which begins with a link past what stands before its content.

    Args:
        title: what a browser calls it.
        base: where the files of the dashboard are, seen from the page: empty, or a path that ends with a slash.
        body: the elements of the page; the one with the id ``content`` is what the link leads to.
        head: what the page needs beside the style of all pages.
    """
    page = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", title),
            el("link", rel="icon", href="data:,"),
            el("link", rel="stylesheet", href=f"{base}dashboard.css"),
            *head,
        ),
        el("body", el("a", "Skip to the content", href="#content", class_="skip"), *body),
        lang="en",
    )
    return f"<!doctype html>\n{html_of(page)}"


def svg_of(element: Element) -> str:
    """Write an element as a document of its own."""
    element.set("xmlns", "http://www.w3.org/2000/svg")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(element, encoding="unicode")
