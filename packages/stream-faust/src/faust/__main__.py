"""The program ``faust``, also as ``python -m faust``: the one that is called ``stream``."""

from typing import NoReturn

from stream_app.cli.faust import cli

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit."""
    cli.main(prog_name="faust")
    raise AssertionError("click exits the process")


if __name__ == "__main__":
    main()
