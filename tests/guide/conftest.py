"""The two spellings of the library, and apps on a broker in this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App


@pytest.fixture(params=["stream_app", "faust"])
def faust(request: pytest.FixtureRequest) -> Any:
    """What ``import stream_app as faust`` and what ``import faust`` give."""
    return importlib.import_module(request.param)


@pytest.fixture
def make(faust: Any, tmp_path: Path) -> Callable[..., App]:
    """Make apps with their data below the directory of the test, all on one broker in this process."""
    broker = f"memory://{uuid4().hex}"
    common = {"broker": broker, "web_enabled": False, "broker_commit_interval": 0.02, "topic_partitions": 1}

    def make_app(name: str = "guide", cls: Any = faust.App, **options: Any) -> App:
        app: App = cls(name, **{**common, "datadir": tmp_path / name, **options})
        return app

    return make_app
