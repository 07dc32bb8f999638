"""``python -m stream_cli`` is the ``stream`` program."""

from __future__ import annotations

from stream_cli.entry import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
