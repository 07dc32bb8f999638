"""The logging of the client is bearable, and says no secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest

from stream_kafka.connecting import logs


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def kept() -> Iterator[_Kept]:
    """What the connection logger of the client says, from DEBUG on."""
    logs.install()
    logger, handler = logging.getLogger("aiokafka.conn"), _Kept()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagate


def test_news_are_for_whoever_debugs(kept: _Kept) -> None:
    """What the client does every day is said when everything is logged, or when its own logger was set; a rebalance is no trouble."""
    logger, root, client = logging.getLogger("aiokafka.conn"), logging.getLogger(), logging.getLogger("aiokafka")
    before = root.level, client.level
    try:
        for root_level, client_level in ((logging.INFO, 0), (logging.DEBUG, 0), (logging.INFO, logging.INFO)):
            root.setLevel(root_level)
            client.setLevel(client_level)
            logger.info("root at %d, client at %d", root_level, client_level)
            logger.warning("Heartbeat failed for group %s because it is rebalancing", root_level)
    finally:
        root.setLevel(before[0])
        client.setLevel(before[1])
    rebalancing = "Heartbeat failed for group {} because it is rebalancing"
    assert kept.lines == [
        "root at 10, client at 0",
        rebalancing.format(10),
        "root at 20, client at 20",
        rebalancing.format(20),
    ]


def test_one_line_for_each_cause(kept: _Kept) -> None:
    """A hundred failures of one kind are one line; another kind is another line."""
    logger = logging.getLogger("aiokafka.conn")
    for node in range(100):
        logger.error("test: cannot connect to %s", node)
    logger.error("test: something else")

    assert kept.lines == ["test: cannot connect to 0", "test: something else"]


def test_what_is_tried_again_is_said_when_it_goes_on() -> None:
    """A new broker has no coordinator for a moment: that is no error yet, and becomes one after some seconds."""
    now = 100.0
    keeper = logs.ClientLogFilter(lambda: now)

    def said() -> bool:
        message = "Group Coordinator Request failed: %s"
        return keeper.filter(logging.LogRecord("aiokafka", logging.ERROR, "", 0, message, ("[Error 15]",), None))

    for step in (0.0, 1.0, 1.0):
        now += step
        assert not said()
    now += 1.0
    assert said()
    now += 60.0
    assert not said()


def test_details_are_not_held_back(kept: _Kept) -> None:
    """Only warnings and errors are limited."""
    for _ in range(3):
        logging.getLogger("aiokafka.conn").debug("test: joined")

    assert len(kept.lines) == 3


def test_passwords_are_not_logged(kept: _Kept) -> None:
    """The client logs its authentication request at DEBUG; the password is left out."""
    request = SaslAuthenticateRequest(b"\0ann\0s3cret").prepare({36: (0, 1)})

    logging.getLogger("aiokafka.conn").debug("Request to %s:%d %d: %s", "h", 9092, 1, request)

    assert "s3cret" not in kept.lines[0]
    assert "SaslAuthenticate" in kept.lines[0]
