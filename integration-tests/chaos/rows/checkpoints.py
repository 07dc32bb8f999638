"""Death and deposition at named steps of the checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from chaos.audit import EXACTLY_ONCE
from chaos.errors import RowError
from chaos.rows.registry import Row
from chaos.scene import Scene, Setup
from chaos.waiting import until
from chaos.workers import PROGRAMS, Output, Program, Worker

__all__ = ["ROWS", "STEPS"]

STEPS = (
    "checkpoint.cut",
    "checkpoint.changelog",
    "checkpoint.acked",
    "transaction.offsets",
    "checkpoint.committed",
    "checkpoint.stored",
)
"""The steps in their order; ``transaction.offsets`` is reached under exactly-once only."""

ZOMBIE = Program(PROGRAMS / "zombie.py")
BARE = Program(PROGRAMS / "zombie.py", (Output(table=""),))
SIGKILLED = -9


async def killed(setup: Setup) -> None:
    """A worker killed with -9 at each step of the checkpoint loses and repeats nothing."""
    steps = [step for step in STEPS if setup.guarantee == EXACTLY_ONCE or step != "transaction.offsets"]
    rounds = max(1, round(setup.seconds / 20))
    async with Scene(setup) as scene:
        await scene.fleet.start()
        victim = scene.fleet.workers[0]
        async with scene.load():
            await scene.progress()
            await victim.terminate()
            for step in steps * rounds:
                failpoint = f"{step}:kill@{scene.rng.randint(1, 4)}"
                setup.say(failpoint)
                await victim.start(failpoint=failpoint)
                await _killed(victim, failpoint, setup.patience)
                scene.tally.faults += 1
            await victim.start()
            await scene.progress()
        await scene.conclude()


async def _killed(victim: Worker, failpoint: str, seconds: float) -> None:
    if (code := await victim.exited(seconds)) != SIGKILLED:
        raise RowError(f"worker {victim.number} ended with code {code}, not at failpoint {failpoint}")


async def reset_generation(setup: Setup) -> None:
    """A worker whose client forgets its generation between the acknowledgements and the commit commits nothing under it."""
    async with Scene(setup, ZOMBIE) as scene:
        await scene.fleet.start()
        victim = scene.fleet.workers[0]
        async with scene.load():
            await scene.progress()
            for _ in range(max(1, round(setup.seconds / 20))):
                await victim.terminate()
                times = victim.output().count("generation reset")
                await victim.start(failpoint=f"checkpoint.acked:reset_generation@{scene.rng.randint(2, 6)}")
                await _said(scene, victim, "generation reset", times)
                await scene.progress(50)
                scene.tally.faults += 1
        await scene.conclude()


async def zombie(setup: Setup) -> None:
    """A worker without generation that stops before its commit, and goes on after others did its events, changes nothing."""
    # Its transaction must still be open when it goes on: the generation is what stops it then, not the transaction timeout.
    patient = replace(setup, transaction=4 * setup.session)
    await _succeeded(patient, BARE, ["checkpoint.acked:stop_as_zombie"], {"CHAOS_BARE": "1"})


async def late(setup: Setup) -> None:
    """A worker that stops in a checkpoint of its tables, and goes on when others have had them and are dead, changes nothing."""
    # Dead, because what they write after it would cover up what it writes.
    stops = ["checkpoint.cut:stop", "checkpoint.cut:stop_as_zombie", "checkpoint.acked:stop"]
    await _succeeded(setup, ZOMBIE, stops, {}, survived=False)


async def _succeeded(
    setup: Setup, program: Program, stops: Sequence[str], environment: Mapping[str, str], *, survived: bool = True
) -> None:
    async with Scene(setup, program, environment=environment) as scene:
        await scene.fleet.start()
        victim = scene.fleet.workers[0]
        async with scene.load():
            await scene.progress()
            for _ in range(max(1, round(setup.seconds / 20))):
                await victim.terminate()
                await victim.start(failpoint=f"{scene.rng.choice(stops)}@{scene.rng.randint(2, 6)}")
                await _stopped(scene, victim)
                setup.say("a worker has stopped; waiting for its successors")
                await scene.progress_everywhere()
                if not survived:
                    await asyncio.gather(*(worker.kill() for worker in scene.fleet.workers[1:]))
                victim.resume()
                await scene.fleet.start()
                await scene.shared_by(setup.workers)
                await scene.progress(50)
                scene.tally.faults += 1
        await scene.conclude(replay=bool(program.outputs[0].table))


async def _said(scene: Scene, worker: Worker, text: str, times: int) -> None:
    async def said() -> bool:
        return worker.output().count(text) > times

    await until(
        said,
        seconds=scene.setup.patience,
        what=lambda: f"worker {worker.number} says {text!r}",
        check=scene.fleet.check,
    )


async def _stopped(scene: Scene, worker: Worker) -> None:
    async def stopped() -> bool:
        return worker.stopped()

    await until(
        stopped,
        seconds=scene.setup.patience,
        what=lambda: f"worker {worker.number} stops itself",
        check=scene.fleet.check,
    )


ROWS = (
    Row("checkpoint-killed", killed, quick=1),
    Row("reset-generation", reset_generation, quick=1),
    Row("zombie", zombie, quick=1),
    Row("late-owner", late),
)
