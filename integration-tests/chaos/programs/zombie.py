"""The bank, with failpoint actions that make the Kafka client forget its group generation.

That is what happens inside a worker that was evicted from its group without noticing: brokers accept a transactional offset commit
without generation from anyone, so the worker must commit under the one that it was assigned, or not at all.
"""

from __future__ import annotations

import gc
import os
import signal

from aiokafka.consumer.group_coordinator import GroupCoordinator
from bank import app

from stream_core import failpoints


def reset_generation() -> None:
    for coordinator in [found for found in gc.get_objects() if issubclass(type(found), GroupCoordinator)]:
        coordinator.reset_generation()
    print("generation reset", flush=True)


def stop_as_zombie() -> None:
    reset_generation()
    os.kill(os.getpid(), signal.SIGSTOP)


failpoints.action("reset_generation", reset_generation)
failpoints.action("stop_as_zombie", stop_as_zombie)

if __name__ == "__main__":
    app.main()
