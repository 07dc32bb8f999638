"""A command of one's own, beside those that every app has: ``python examples/command.py example``."""

import stream_app as faust

app = faust.App("example-subcommand")


@app.command()
async def example() -> None:
    """This docstring is used as the command help in --help."""
    print("RUNNING EXAMPLE COMMAND")


if __name__ == "__main__":
    app.main()
