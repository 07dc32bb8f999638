"""The same work in Quix Streams, with its defaults; runs in an environment that has it instead of ours."""

# mypy: ignore-errors

from __future__ import annotations

from quixstreams import Application

from benchmarks.samples.meter import Meter, arguments

options = arguments()
meter = Meter(options)
seen = passed = 0


WINDOWS = {
    "tumbling": lambda transfers: transfers.tumbling_window(10_000, grace_ms=60_000),
    "hopping": lambda transfers: transfers.hopping_window(60_000, 10_000, grace_ms=60_000),
    "session": lambda transfers: transfers.session_window(10_000, grace_ms=60_000),
}


def select(transfer: dict[str, object]) -> bool:
    """Count every transfer, and those that pass."""
    global seen, passed
    large = transfer["amount"] > 10
    seen += 1
    passed += large
    if seen >= meter.mark:
        meter.tick(seen, passed=passed)
    return large


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=options.broker.partition("://")[2],
        consumer_group=options.id,
        auto_offset_reset="earliest",
        state_dir=options.datadir,
        loglevel="ERROR",
    )
    transfers = app.dataframe(app.topic(options.topic, value_deserializer="json"))
    if options.windows:  # all are counted, those that do not pass too
        WINDOWS[options.windows](transfers.filter(lambda transfer: select(transfer) or True)).count().current()
    else:
        transfers = transfers.filter(select)
    if options.out:
        transfers.to_topic(app.topic(options.out, value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
