"""Each package alone, in environments that lack the others: it works, or says which package to install."""

from __future__ import annotations

import pytest

from .conftest import Install
from .environments import MODULES, Environment, readme

APP = """
import asyncio, sys
import stream_app as faust

app = faust.App("bank", {settings})
names = app.topic("names", key_type=str, value_type=str)
table = app.Table("seen", default=int, key_type=str, value_type=int)
done = asyncio.Event()

@app.agent(names)
async def greet(stream):
    async for key, name in stream.items():
        table[key] += 1
        print("hello", name)
        done.set()

async def main():
    await app.start()
    await names.send("world", key="one")
    await asyncio.wait_for(done.wait(), timeout=30)
    await app.stop()
    print("loaded:", *sorted(sys.modules.keys() & {modules!r}))
"""
OPTIONAL = {
    "aiohttp",
    "aiokafka",
    "click",
    "requests",
    "rich",
    "rocksdict",
    "stream_cli",
    "stream_web",
    "uvloop",
    "yaml",
}
COMPRESSED = """
from stream_kafka import KafkaTransport
for name in ("snappy", "lz4", "zstd"):
    try:
        KafkaTransport("kafka://localhost", compression=name).producer()
    except Exception as error:
        print(error)
"""
RUN = "\nasyncio.run(main())\n"
MAIN = "\napp.main()\n"


def app(settings: str, end: str = RUN) -> str:
    """A program with an app that has these settings."""
    return APP.format(settings=settings, modules=OPTIONAL) + end


# -- one package, without its siblings


def test_core_alone_has_records_codecs_and_agents(install: Install) -> None:
    """With stream-core alone, records and codecs work, an agent runs on memory://, and a codec that needs more says what."""
    environment = install("stream-core")
    program, output = readme("stream-core")
    assert environment.execute(program) == output
    assert siblings(environment) == {"stream_core"}
    yaml = environment.execute("from stream_core.values.codecs import get_codec\nget_codec('yaml')\n", code=1)
    assert "pip install 'stream-core[yaml]'" in yaml


def test_core_and_tables_keep_tables(install: Install) -> None:
    """With stream-core and stream-tables, a table is kept in RocksDB over a restart, or rebuilt from its changelog in memory."""
    environment = install("stream-core", "stream-tables")
    program, output = readme("stream-tables")
    assert environment.execute(program) == output
    assert (environment.directory / "bank-tables" / "totals-0.db").is_dir()
    in_memory = program.replace(
        "from stream_tables.driver import open_stores", "from stream_core.memory import MemoryStores"
    )
    in_memory = in_memory.replace('open_stores(Path("bank-tables"))', "MemoryStores()")
    assert in_memory.count("MemoryStores") == 2
    assert environment.execute(in_memory) == output
    assert siblings(environment) == {"stream_core", "stream_tables"}


def test_core_and_web_serve_health(install: Install) -> None:
    """With stream-core and stream-web, a program serves its health."""
    environment = install("stream-core", "stream-web")
    program, output = readme("stream-web")
    assert environment.execute(program) == output
    assert siblings(environment) == {"stream_core", "stream_web"}


def test_core_and_cli_say_what_they_need(install: Install) -> None:
    """With stream-core and stream-cli, the program runs, and says that it needs an app, and a package for a broker."""
    environment = install("stream-core", "stream-cli")
    assert "Usage: stream" in environment.run("python", "-m", "stream_cli", "--help")
    assert "needs an app" in environment.run("python", "-m", "stream_cli", "worker", code=2)
    broker = environment.run("python", "-m", "stream_cli", "broker", "--port", "9192", code=1)
    assert "pip install 'stream-kafka[broker]'" in broker
    assert siblings(environment) == {"stream_core", "stream_cli"}


def test_kafka_alone_can_be_set_up(install: Install) -> None:
    """With stream-core and stream-kafka, the transport is made and says that no broker answers; extras are named when they lack."""
    environment = install("stream-core", "stream-kafka")
    assert siblings(environment) == {"stream_core", "stream_kafka"}
    program, _ = readme("stream-kafka")
    refused = program.replace("localhost:9092", "127.0.0.1:1").replace(
        'EngineSettings("greeter"', 'EngineSettings("greeter", fail_fast=True'
    )
    assert "no Kafka broker could be reached (127.0.0.1:1 Connection refused)" in environment.execute(refused, code=1)
    assert environment.execute(COMPRESSED).count("pip install 'stream-kafka[compression]'") == 3
    assert "pip install 'stream-kafka[schema-registry]'" in environment.execute("import stream_kafka.registry", code=1)


def siblings(environment: Environment) -> set[str]:
    """Which of our packages can be imported."""
    program = (
        f"from importlib.util import find_spec\nprint(*(name for name in {[*MODULES.values()]!r} if find_spec(name)))\n"
    )
    return set(environment.execute(program).split())


# -- the whole


@pytest.fixture(scope="module")
def everything(install: Install) -> Environment:
    """What ``pip install stream-faust`` brings, given that stream-app is there."""
    return install(*MODULES)


def test_the_app_brings_everything(everything: Environment) -> None:
    """stream-app runs an app with a RocksDB table, and loads no more than that needs."""
    program = app('broker="memory://", store="rocksdb://", web_enabled=False')
    assert everything.execute(program).splitlines() == ["hello world", "loaded: rocksdict"]
    assert everything.execute(app('broker="memory://"', MAIN), "agents").count("greet")


def test_existing_programs_import_faust(everything: Environment) -> None:
    """With stream-faust, a program that imports faust runs."""
    program = app('broker="memory://", web_enabled=False').replace("import stream_app as faust", "import faust")
    assert everything.execute(program).splitlines() == ["hello world", "loaded:"]


# -- what lacks


@pytest.fixture(scope="module")
def bare(install: Install) -> Environment:
    """stream-app without the clients, and without those of our packages that it loads only when they are needed."""
    environment = install(*MODULES)
    environment.uninstall("aiokafka", "stream-web", "stream-cli", "rocksdict")
    return environment


def test_an_app_needs_little(bare: Environment) -> None:
    """Without Kafka client, web server, command line, RocksDB and uvloop, an app runs on memory://."""
    assert bare.execute(app('broker="memory://"')).splitlines() == ["hello world", "loaded:"]


@pytest.mark.parametrize(
    ("program", "needed"),
    [
        (app('broker="kafka://localhost:9092"'), "stream-kafka"),
        (app('broker="kafkas://localhost:9093"'), "stream-kafka"),
        (app('broker="memory://", store="rocksdb://"'), "stream-tables"),
        (app('broker="memory://", web_enabled=True'), "stream-web"),
        (app('broker="memory://"', MAIN), "stream-cli"),
        (app('broker="memory://", value_serializer="yaml"'), "stream-core[yaml]"),
    ],
    ids=["kafka", "kafkas", "rocksdb", "web", "main", "yaml"],
)
def test_what_lacks_is_named(bare: Environment, program: str, needed: str) -> None:
    """What needs a package that is not there says which to install, in the last line."""
    assert f"pip install {needed}" in bare.execute(program, code=1).splitlines()[-1].replace("'", "")
