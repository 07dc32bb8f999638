"""Which signals of the process ask a program to stop."""

from __future__ import annotations

import signal

__all__ = ["stop_signals"]


def stop_signals() -> tuple[signal.Signals, ...]:
    """Give the signals that ask this process to stop: SIGINT, SIGTERM, and SIGHUP, which comes when its terminal is closed.

    A SIGHUP that is ignored stays so: ``nohup`` starts programs that are to outlive their terminal.
    """
    hangup = getattr(signal, "SIGHUP", None)  # there is none on Windows
    hung = () if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN else (hangup,)
    return (signal.SIGINT, signal.SIGTERM, *hung)
