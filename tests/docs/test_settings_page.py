"""The page on settings says what the settings say."""

from __future__ import annotations

import re

from stream_app.settings.settings import known_settings

from .settings_page import PAGE, page


def test_the_page_is_made_of_the_settings() -> None:
    """When this fails, ``uv run python -m tests.docs.settings_page`` writes it anew."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text)


def test_each_setting_is_on_the_page() -> None:
    """Once, with a sentence."""
    named = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| [^|]* \| [^|]+\. ?\*?[^|]*\|$", PAGE.read_text(encoding="utf-8"), re.M
    )
    assert sorted(named) == sorted(known_settings())
