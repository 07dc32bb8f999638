"""The commands ``models`` and ``model``: the record classes of an app, and what a value of one consists of."""

from __future__ import annotations

import inspect

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.listing import first_line
from stream_cli.output import print_rows
from stream_cli.texts import find_type
from stream_core.engine.graph import shortest_end
from stream_core.errors import ConfigurationError
from stream_core.values.wire import options_of, registry

__all__ = ["model", "models"]


@click.command()
@json_option
@pass_invocation
def models(invocation: Invocation) -> None:
    """List the record classes of the app.

    The names are those that "stream send --value-type" takes.

    \b
    Examples:
      stream -A bank models
      stream -A bank models --json
    """
    invocation.whole_app()
    rows = [
        {"name": shortest_end(name, registry), "help": first_line(cls.__doc__ or ""), "full_name": name}
        for name, cls in sorted(registry.items())
    ]
    print_rows("Models", ("name", "help"), rows, as_json=invocation.as_json)


@click.command()
@click.argument("name")
@json_option
@pass_invocation
def model(invocation: Invocation, name: str) -> None:
    """Show the fields of a record class: what to type for a value.

    NAME is one of those that "stream models" lists. A field without default must be given. "field" is what it is called on the topic;
    where code calls it otherwise, that stands after it.

    \b
    Examples:
      stream -A bank model Deposit
      stream -A bank model Deposit --json
    """
    invocation.whole_app()
    cls = find_type(name)
    if options_of(cls) is None:
        raise ConfigurationError(f"{name} is not a record class")
    rows = [
        {
            "field": typed,
            "in code": field.name,
            "type": inspect.formatannotation(field.annotation),
            "default": "" if field.default is field.empty else repr(field.default),
        }
        for typed, field in zip(cls.__struct_encode_fields__, inspect.signature(cls).parameters.values(), strict=True)
    ]
    renamed = any(row["field"] != row["in code"] for row in rows)
    columns = ("field", "in code", "type", "default") if renamed else ("field", "type", "default")
    print_rows(cls.__name__, columns, rows, as_json=invocation.as_json)
