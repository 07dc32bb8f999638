"""Which calls can fail in which ways, and the plan that counts calls and says which of them fails."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    CommitError,
    ConfigurationError,
    DeadlineError,
    EncodeError,
    FencedError,
    ProduceError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StreamError,
    TransactionExpiredError,
    TransportError,
    UnknownTopicError,
)

__all__ = ["DONE", "ERRORS", "LATER", "WAYS", "Fault", "Plan", "parse"]

ERRORS: dict[str, type[StreamError]] = {
    error.__name__: error
    for error in (
        BatchRefusedError,
        BrokerUnavailableError,
        CommitError,
        DeadlineError,
        EncodeError,
        FencedError,
        ProduceError,
        StoreCorruptError,
        StoreError,
        StoreLockedError,
        TransactionExpiredError,
        TransportError,
        UnknownTopicError,
    )
}
"""The errors that the ports name, by name."""

DONE, LATER = "/done", "/later"
"""The ends of a way in which the call fails although it took effect, or will."""

_ASK = ("TransportError", "silent", "late")
_CHANGE = ("TransportError", "TransportError/done", "silent", "silent/done", "late")
_CONNECT = ("BrokerUnavailableError", "silent", "late")
_COMMIT = ("CommitError", "TransportError", "TransportError/done", "FencedError", "silent", "silent/done", "late")

WAYS: dict[str, tuple[str, ...]] = {
    "consumer.start": _CONNECT,
    "consumer.stop": ("late",),
    "consumer.poll": ("TransportError", "TransportError/done"),
    "consumer.committed": _ASK,
    "consumer.commit": (*_COMMIT, "FencedError/done", "TransportError/later", "silent/later"),
    "consumer.start_offsets": _ASK,
    "consumer.end_offsets": _ASK,
    "consumer.lease": ("over",),
    "consumer.check": ("TransportError",),
    "producer.start": (*_CONNECT, "silent/done"),
    "producer.stop": ("late",),
    "producer.partitions": ("UnknownTopicError", *_ASK),
    "producer.send": ("EncodeError", "ProduceError"),
    "producer.room": ("ProduceError", "silent", "late"),
    "producer.flush": ("ProduceError", "ProduceError/done", "silent", "silent/done", "late"),
    "producer.begin": ("TransportError", "silent", "late"),
    "producer.commit": (*_COMMIT, "TransactionExpiredError"),
    "producer.abort": _CHANGE,
    "producer.check": ("TransportError",),
    "producer.deliver": ("ProduceError", "ProduceError/done", "BatchRefusedError", "silent"),
    "admin.start": _CONNECT,
    "admin.stop": ("late",),
    "admin.cluster_id": _ASK,
    "admin.describe": _ASK,
    "admin.topics": _ASK,
    "admin.create": _CHANGE,
    "admin.delete": _CHANGE,
    "admin.remove_member": _CHANGE,
    "reader.start": _CONNECT,
    "reader.stop": ("late",),
    "reader.assign": ("TransportError",),
    "reader.poll": ("TransportError", "OffsetOutOfRangeError"),
    "reader.start_offsets": _ASK,
    "reader.end_offsets": _ASK,
    "store.get": ("StoreError", "damaged"),
    "store.range": ("StoreError", "damaged"),
    "store.write": ("full", "full/done", "damaged"),
    "store.fact": ("StoreError", "damaged"),
    "store.size": ("StoreError",),
    "store.wipe": ("StoreError",),
    "stores.open": ("StoreError", "locked", "locked/long", "damaged"),
    "stores.destroy": ("StoreError",),
}
"""The ways in which a call can fail, by its name; a call that is not here can only be counted.

A way is the name of an error, raised before the call takes effect, or behind it with ``/done``, or with ``/later`` so long
before it that others have gone on. ``silent``: no answer until the deadline of the request. ``late``: an answer when a
revocation waits no more. ``over``: the lease is. ``full``, ``damaged`` and ``locked``: what a disk does; what is damaged stays so
until it is wiped or removed, and ``locked/long`` is longer than anybody waits for a lock. ``producer.deliver`` is no method: it is
the request that carries a batch, and fails behind the back of whoever sent.
"""


class Fault(NamedTuple):
    """One call that fails.

    Attributes:
        call: port and method, such as ``producer.send``.
        number: which call of it, counted from 1 over all workers.
        way: one of :data:`WAYS`.
    """

    call: str
    number: int
    way: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number}:{self.way}"


def parse(text: str) -> tuple[Fault, ...]:
    """Read faults as :meth:`Fault.__str__` writes them, separated by commas. Raises ConfigurationError."""
    faults = []
    for part in text.split(","):
        found = re.fullmatch(r"(\w+\.\w+)#(\d+):([\w/]+)", part.strip())
        if found is None or found[3] not in WAYS.get(found[1], ()):
            raise ConfigurationError(
                f"{part!r} is no fault: write port.method#number:way, such as producer.send#17:ProduceError"
            )
        faults.append(Fault(found[1], int(found[2]), found[3]))
    return tuple(faults)


@dataclass(slots=True)
class Plan:
    """Counts the calls of a run, and says which of them fail.

    Attributes:
        faults: what fails.
        counts: calls so far, by name.
        struck: the faults that have happened.
        trace: all calls in their order, for comparing two runs.
        armed: whether calls are counted and fail; they are not once the story is over.
    """

    faults: Sequence[Fault]
    counts: Counter[str]
    struck: list[Fault]
    trace: list[str]
    armed: bool = True

    @classmethod
    def of(cls, faults: Iterable[Fault] = ()) -> Plan:
        """Make a plan of these faults."""
        return cls(tuple(faults), Counter(), [], [])

    def strike(self, call: str, who: str = "") -> str:
        """Count a call; returns the way in which it is to fail, or an empty text."""
        if not self.armed:
            return ""
        self.counts[call] += 1
        self.trace.append(f"{who} {call}")
        number = self.counts[call]
        for fault in self.faults:
            if fault.call == call and fault.number == number:
                self.struck.append(fault)
                return fault.way
        return ""
