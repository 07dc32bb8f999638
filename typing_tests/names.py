"""Code of programs that were written for Faust, as a type checker sees it; never run."""

from typing import Annotated, Any, assert_type

import faust
from faust.exceptions import FaustError, ImproperlyConfigured
from faust.models import Model
from faust.models.fields import IntegerField
from faust.models.tags import Secret
from faust.types import TP, AppT, ChannelT, EventT, StreamT, TopicT
from faust.types.core import merge_headers
from faust.types.tuples import tp_set_to_map
from stream_app.types import AppT as OurAppT

app = faust.App("typed")
assert_type(app.id, str)


class Order(faust.Record):
    """A record."""

    account: str


orders: TopicT = app.topic("orders", value_type=Order)
local: ChannelT[int] = app.channel(value_type=int)


@app.agent(orders)
async def process(stream: StreamT[Order]) -> None:
    """Read records."""
    async for order in stream:
        assert_type(order.account, str)


@app.agent(local)
async def anything(stream: StreamT) -> None:
    """Read what is not said."""
    async for value in stream:
        assert_type(value, Any)


@app.on_partitions_assigned.connect
async def assigned(app: AppT, assigned: set[TP], **kwargs: Any) -> None:
    """A handler as the guides have it."""
    assert_type(app, faust.App)
    assert_type(tp_set_to_map(assigned)["a"], set[TP])


def configure(app: OurAppT, conf: faust.Settings, **kwargs: Any) -> None:
    """The same name from the other package."""
    conf.broker = ["kafka://localhost"]


async def handle(event: EventT[Order]) -> str:
    """An event of records."""
    headers: dict[str, bytes] = dict(event.headers)
    merge_headers(headers, {"a": "b"})
    return event.value.account


try:
    raise ImproperlyConfigured("no broker")
except FaustError as error:
    assert_type(error, FaustError)


class User(faust.Record):
    """A record with a tag, and with a bound."""

    password: Secret[str]
    age: Annotated[int, IntegerField(min_value=0)] = 0


assert_type(User(Secret("a")).password.get_value(), str)
assert_type(User(Secret("a")).age, int)
assert_type(User._options.secret_fields, frozenset[str])
User("a")  # type: ignore[arg-type]  # error: it is tagged when it is read, so a checker wants it tagged
assert_type(Model.loads(b"{}"), faust.Record)
assert_type(faust.uuid(), str)
print(faust.Chanel)  # type: ignore[attr-defined]  # error: there is no such name
assert_type(faust.App("monitored").monitor, faust.Monitor)
faust.App("monitored").sensors.add(faust.Sensor())
