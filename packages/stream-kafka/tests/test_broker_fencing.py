"""What the metadata of a broker that was killed says about it."""

from __future__ import annotations

import struct

import pytest

from stream_kafka.broker import VERSIONS
from stream_kafka.broker.fencing import count_fenced, session_of_killed, waits_for_session

FENCED, UNFENCED, DIRECTORIES = b"\x01\x00\x01\x01", b"\x01\x00\x01\xff", b"\x01\x02\x11\x02"
"""The tagged fields of a change of a registration: one, with number, size and value; the last one is longer."""


def change(broker: int, epoch: int, fields: bytes, *, version: bytes = b"\x00") -> bytes:
    """A change of a broker's registration, as a record of the metadata log holds it."""
    return b"\x26\x01\x11" + version + struct.pack(">iq", broker, epoch) + fields + b"\x00"


def test_only_its_own_fencing_counts() -> None:
    """A broker is fenced when its registration says so: not another broker's, an earlier one, or another change of it."""
    others = change(2, 7, FENCED) + change(1, 6, FENCED) + change(1, 7, UNFENCED) + change(1, 7, DIRECTORIES)
    assert count_fenced(others, 1, 7) == 0
    assert count_fenced(others + change(1, 7, FENCED, version=b"\x02"), 1, 7) == 1


def test_other_records_do_not_count() -> None:
    """A record of another type about the same registration is no fencing, nor is one that is not whole yet."""
    other = b"\x30\x01\x0f\x00" + struct.pack(">iq", 1, 7) + FENCED
    assert count_fenced(other + change(1, 7, FENCED)[:-2], 1, 7) == 0


def test_each_time_counts() -> None:
    """A broker that was fenced, let in again, and fenced again was fenced twice."""
    assert count_fenced(change(1, 10, FENCED) + change(1, 10, UNFENCED) + change(1, 10, FENCED), 1, 10) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_killed_broker_of_kafka_3_waits_for_a_short_session(version: str) -> None:
    """It asks to be let in for a minute, so the session before it must be shorter; Kafka 4 has the step of its own for that."""
    waits = version.startswith("3.")
    assert waits_for_session(version) == waits
    assert session_of_killed(version) == ({"broker.session.timeout.ms": "9000"} if waits else {})
