"""Settings: where a value comes from, what is refused, and that no password is shown."""

from __future__ import annotations

import copy
import json
import operator
import re
import ssl
from datetime import timedelta
from pathlib import Path
from pprint import pformat
from typing import Any

import pytest

from stream_app import Agent, Worker
from stream_app.settings import Settings
from stream_app.settings.faust_names import OTHER_DEFAULTS, REFUSED, RENAMED
from stream_app.settings.parameters import Parameter
from stream_core.errors import ConfigurationError, UnknownSettingError
from stream_kafka import KafkaSettings, SASLCredentials


def settings(environ: dict[str, str] | None = None, **options: Any) -> Settings:
    """The settings of an app in an environment of its own."""
    return Settings("shop", environ=environ or {}, **options)


# -- where a value comes from


def test_environment_wins_over_arguments_and_these_over_defaults() -> None:
    """The order of sources is that of the guides."""
    assert settings().web_port == 6066
    assert settings(web_port=1).web_port == 1
    assert settings({"WEB_PORT": "2"}, web_port=1).web_port == 2


def test_an_assignment_wins_and_none_takes_it_back() -> None:
    """``app.conf`` may be assigned until the app starts; ``None``, as of a variable that is not there, leaves what the environment says."""
    conf = settings({"WEB_PORT": "2"}, broker="kafka://argument")
    conf.web_port = 3
    assert conf.web_port == 3
    conf.web_port = conf.broker = None
    assert (conf.web_port, conf.sources["web_port"]) == (2, "environment variable WEB_PORT")
    assert conf.broker == settings().broker
    conf.freeze()
    with pytest.raises(ConfigurationError, match="web_port cannot be changed: the app has started"):
        conf.web_port = 4


def test_a_rate_is_read_as_faust_reads_it() -> None:
    """A number of times per second, minute, hour or day, which Faust takes for seconds."""
    rates = {"0.1/s": 0.1, "30/m": 0.5, "3600/h": 1.0, "86400 / d": 1.0}
    assert {rate: settings(broker_commit_interval=rate).broker_commit_interval for rate in rates} == rates
    with pytest.raises(ConfigurationError, match="broker_commit_interval=3/w cannot be used"):
        settings(broker_commit_interval="3/w")


def test_variables_of_the_process_replace_the_default_only() -> None:
    """``FAUST_DATADIR`` and its like are weaker than arguments."""
    environ = {"FAUST_DATADIR": "one", "F_DATADIR": "two"}
    assert settings(environ).datadir == Path("one")
    assert settings(environ, datadir="three").datadir == Path("three")
    assert settings({**environ, "APP_DATADIR": "four"}, datadir="three").datadir == Path("four")


@pytest.mark.parametrize("prefix", ["SHOP", "SHOP_"])
def test_a_prefix_names_the_variables(prefix: str) -> None:
    """With a prefix only the variables that have it are read."""
    environ = {"WEB_PORT": "1", "SHOP_WEB_PORT": "2"}
    assert settings(environ, env_prefix=prefix).web_port == 2
    assert settings({**environ, "APP_ENV_PREFIX": prefix}).web_port == 2


def test_an_empty_variable_is_none() -> None:
    """Compose files pass empty text for what is not set."""
    assert settings({"WEB_PORT": ""}).web_port == 6066


# -- conversion


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("broker_session_timeout", timedelta(minutes=1), 60.0),
        ("broker_session_timeout", "45", 45.0),
        ("topic_allow_declare", "OFF", False),
        ("web_enabled", "yes", True),
        ("topic_partitions", "8", 8),
        ("producer_acks", "all", -1),
        ("datadir", "~", Path.home()),
        ("broker", "one", ["kafka://one"]),
        ("broker", "kafka://one:1;two, three", ["kafka://one:1", "kafka://two", "kafka://three"]),
        ("broker", ["memory://a"], ["memory://a"]),
        ("value_serializer", "json|binary", "json|binary"),
        ("producer_compression_type", "zstd", "zstd"),
        ("autodiscover", "yes", True),
        ("autodiscover", "proj.one, proj.two", ["proj.one", "proj.two"]),
        ("autodiscover", ("proj.one",), ("proj.one",)),
        ("logging_config", '{"version": 1}', {"version": 1}),
        ("worker_redirect_stdouts_level", "info", "INFO"),
        ("worker_redirect_stdouts_level", "10", 10),
        ("blocking_timeout", "0.5", 0.5),
        ("Agent", "stream_app:Agent", Agent),
        ("Worker", "stream_app.worker.Worker", Worker),
    ],
)
def test_values_are_converted(name: str, given: Any, value: Any) -> None:
    """Text, times and lists become what the setting holds."""
    assert getattr(settings(**{name: given}), name) == value


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("web_port", "http", r"web_port=http cannot be used: Expected `int`"),
        ("web_port", 0, r"web_port=0 cannot be used: Expected `int` >= 1"),
        ("broker_commit_interval", -1, r">= 0"),
        ("web_enabled", "maybe", r"Expected `bool`"),
        ("store", "rocksdb", r"it has no scheme: write rocksdb://"),
        ("broker", "", r"it names no broker"),
        ("broker", b"kafka://a", r"it is bytes: write text"),
        ("broker", "kafka://a;redis://b", r"more than one driver: kafka, redis"),
        ("processing_guarantee", "twice", r"Invalid enum value 'twice'"),
        ("producer_acks", 1, r"the producer is idempotent"),
        ("value_serializer", "jsn", r"did you mean 'json'"),
        ("autodiscover", 3, r"it is not a list of names"),
        ("logging_config", "{", r"it is not JSON"),
        ("logging_config", [], r"it is not a mapping"),
        ("loghandlers", ["file"], r"these are no handlers: write a list of objects"),
        ("worker_redirect_stdouts_level", "loud", r"there is no such level"),
        ("id_format", "{name}", r"write \{id\} for the name of the app"),
        ("id_format", "{id", r"it is not a format"),
        ("id_format", "{id.__class__}", r"write \{id\} for the name of the app"),
        ("Agent", dict, r"it is not a class that is derived from stream_app.definitions.agents.Agent"),
        ("Table", "no.such:Class", r"it cannot be imported"),
        ("Worker", 1, r"it is not a class"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, given: Any, message: str) -> None:
    """The message names the setting and says what it takes."""
    with pytest.raises(ConfigurationError, match=message):
        settings(**{name: given})


def test_a_variable_that_does_not_fit_is_named() -> None:
    """The message names the variable, not the setting, when it is at fault."""
    with pytest.raises(ConfigurationError, match=r"SHOP_WEB_PORT=x cannot be used"):
        settings({"SHOP_WEB_PORT": "x"}, env_prefix="SHOP")


# -- unknown names


def test_an_unknown_setting_names_the_nearest() -> None:
    """A typo is refused, as an argument and as an assignment, even with None."""
    with pytest.raises(UnknownSettingError, match="there is no setting 'brokr': did you mean 'broker'"):
        settings(brokr="x")
    with pytest.raises(UnknownSettingError, match="the page on settings has all of them"):
        settings().qqqq = 1
    with pytest.raises(UnknownSettingError, match="did you mean 'store'"):
        settings(stor=None)
    for name in ("_source", "values", "id"):  # what settings have beside settings
        with pytest.raises(UnknownSettingError, match=f"there is no setting '{name}'"):
            settings(**{name: "x"})


def test_an_old_name_says_the_new_one() -> None:
    """Names that Faust takes with a warning are refused with the name to use."""
    with pytest.raises(UnknownSettingError, match="'commit_interval' is now broker_commit_interval"):
        settings(commit_interval=1)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_settings_of_faust_that_can_have_no_effect_say_why(name: str) -> None:
    """The message has the reason, and what to do instead."""
    options: dict[str, Any] = {name: 1}
    why, instead = REFUSED[name]
    with pytest.raises(ConfigurationError, match=re.escape(f"{name!r} of Faust has no effect here: {why}; {instead}")):
        settings(**options)


FAUST = """
    Agent=- ConsumerScheduler=- Event=- GlobalTable=- PartitionAssignor=- Schema=- Serializers=- SetGlobalTable=- SetTable=-
    Stream=- Table=- TableManager=- Worker=- aerospike_retries_on_exception aerospike_sleep_seconds_between_retries_on_exception
    agent_supervisor autodiscover blocking_timeout broker=BROKER_URL broker_api_version broker_check_crcs broker_client_id
    broker_commit_every broker_commit_interval broker_commit_livelock_soft_timeout broker_consumer=BROKER_CONSUMER_URL
    broker_credentials broker_heartbeat_interval broker_max_poll_interval broker_max_poll_records
    broker_producer=BROKER_PRODUCER_URL broker_rebalance_timeout broker_request_timeout broker_session_timeout cache=CACHE_URL
    canonical_url=NODE_CANONICAL_URL consumer_api_version consumer_auto_offset_reset consumer_connections_max_idle_ms
    consumer_group_instance_id consumer_max_fetch_size consumer_metadata_max_age_ms crash_app_on_aerospike_exception
    cython_optimizations datadir=APP_DATADIR debug=APP_DEBUG env_prefix=APP_ENV_PREFIX id_format=APP_ID_FORMAT
    key_serializer=APP_KEY_SERIALIZER logging_config loghandlers=- origin=APP_ORIGIN processing_guarantee producer_acks
    producer_api_version producer_compression_type producer_connections_max_idle_ms producer_linger producer_max_batch_size
    producer_max_request_size producer_metadata_max_age_ms producer_partitioner producer_request_timeout producer_threaded
    recovery_consistency_check reply_create_topic=APP_REPLY_CREATE_TOPIC reply_expires=APP_REPLY_EXPIRES reply_to
    reply_to_prefix=APP_REPLY_TO_PREFIX ssl_context=- store=APP_STORE store_check_exists stream_buffer_maxsize
    stream_processing_timeout stream_publish_on_commit stream_recovery_delay stream_wait_empty table_cleanup_interval
    table_key_index_size table_standby_replicas tabledir=APP_TABLEDIR timezone topic_allow_declare topic_disable_leader
    topic_partitions topic_replication_factor value_serializer=APP_VALUE_SERIALIZER version=APP_VERSION web
    web_application_options web_bind web_cors_options web_enabled=APP_WEB_ENABLED web_graph_enabled web_host web_in_thread
    web_metrics_enabled=APP_WEB_METRICS_ENABLED web_port web_router_enabled web_ssl_context=-
    web_stats_enabled=APP_WEB_STATS_ENABLED web_tables_enabled web_transport worker_redirect_stdouts worker_redirect_stdouts_level
"""
"""The settings of Faust that it has not given up, with their variables: the name in capitals where none is said, and - for none."""


def test_every_setting_of_faust_is_honoured_or_refused() -> None:
    """A deployment is moved without new names of variables, and is told what it cannot have."""
    ours = {row.name: row.env for row in settings().describe()}
    for name, _, env in (entry.partition("=") for entry in FAUST.split()):
        if name in ours:
            assert ours[name] == (env or name.upper()).replace("-", ""), name
        else:
            assert name in REFUSED, name


def test_other_defaults_than_those_of_faust() -> None:
    """Each that is said to be another one is."""
    ours = {row.name: row.default for row in settings().describe()}
    assert {name for name, default in OTHER_DEFAULTS.items() if ours[name] == default} == set()


def test_the_lists_of_names_do_not_overlap() -> None:
    """A setting is honoured, or renamed, or refused for a reason."""
    honoured = {row.name for row in settings().describe()}
    lists = [honoured, RENAMED.keys(), REFUSED.keys()]
    assert sum(map(len, lists)) == len(set().union(*lists))
    assert {name.partition(" ")[0] for name in RENAMED.values()} <= honoured


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 201])
def test_an_app_has_a_name_that_a_topic_can_have(name: str) -> None:
    """The name is part of topic names."""
    with pytest.raises(ConfigurationError, match="cannot be named"):
        Settings(name, environ={})


# -- derived values


def test_the_id_of_a_version_has_a_format() -> None:
    """``id_format`` says how name and version make the id; version 1 is the name alone."""
    conf = settings({"APP_ID_FORMAT": "{self.version}.{id}"})
    assert conf.id == "shop"
    conf.version = 3
    assert conf.id == "3.shop"
    conf.id_format = "{id}/{self.version}"
    with pytest.raises(ConfigurationError, match="an app cannot be named 'shop/3'"):
        conf.freeze()


def test_the_version_is_part_of_the_id_and_of_the_directories() -> None:
    """Above version 1 an app is another consumer group; the directory has the name."""
    one, two = settings(), settings({"APP_VERSION": "2"})
    assert (one.id, one.appdir, one.tabledir) == ("shop", Path("shop-data/v1"), Path("shop-data/v1/tables"))
    assert (two.id, two.name, two.tabledir) == ("shop-v2", "shop", Path("shop-data/v2/tables"))
    assert settings(tabledir="/t").tabledir == Path("/t")


def test_the_commit_interval_follows_the_guarantee() -> None:
    """Exactly-once commits often, because its outputs wait for the commit."""
    conf = settings()
    assert conf.broker_commit_interval == 2.8
    conf.processing_guarantee = "exactly_once"
    assert conf.exactly_once
    assert conf.broker_commit_interval == 0.1
    conf.broker_commit_interval = 1
    assert conf.broker_commit_interval == 1.0


def test_drivers_and_what_they_are_told() -> None:
    """The schemes choose the drivers; a transport gets its settings by its own names."""
    conf = settings(broker="kafka://a;b", store="rocksdb://", producer_linger=0.01)
    assert (conf.broker_scheme, conf.broker_url) == ("kafka", "kafka://a,kafka://b")
    assert conf.transport_options["linger"] == 0.01
    assert settings(broker="memory://").transport_options == {"partitioner": None}


@pytest.mark.parametrize(
    ("name", "given", "option", "value"),
    [
        ("consumer_metadata_max_age_ms", 5000, "metadata_max_age", 5.0),
        ("consumer_connections_max_idle_ms", "1500", "connections_max_idle", 1.5),
        ("producer_metadata_max_age_ms", 7000, "producer_metadata_max_age", 7.0),
        ("producer_connections_max_idle_ms", 8000, "producer_connections_max_idle", 8.0),
        ("broker_check_crcs", "no", "check_crcs", False),
        ("consumer_max_fetch_size", 10, "max_partition_fetch_bytes", 10),
        ("consumer_max_unpacked_size", 20, "max_unpacked_bytes", 20),
        ("producer_partitioner", "operator:index", "partitioner", operator.index),
        ("producer_partitioner", "operator.index", "partitioner", operator.index),
        ("producer_partitioner", len, "partitioner", len),
    ],
)
def test_what_the_transport_is_told(name: str, given: Any, option: str, value: Any) -> None:
    """Times are in seconds there, and each option is one that the Kafka transport has."""
    options = settings(**{name: given}).transport_options
    assert options[option] == value
    assert isinstance(getattr(KafkaSettings.from_url("kafka://a", **options), option), type(value))


# -- credentials


def test_credentials_and_contexts_reach_the_transport() -> None:
    """Credentials are taken as they are, a bare context is TLS, and ``ssl_context`` serves credentials without one."""
    context = ssl.create_default_context()
    scram = SASLCredentials(username="ann", password="s3cret", mechanism="SCRAM-SHA-256")

    def protocol(**options: Any) -> str:
        conf = settings(broker="kafka://a", **options)
        made = KafkaSettings.from_url(conf.broker_url, **conf.transport_options).credentials
        return made.protocol if made is not None else "PLAINTEXT"

    assert protocol() == "PLAINTEXT"
    assert protocol(broker_credentials=context) == "SSL"
    assert protocol(ssl_context=context) == "SSL"
    assert protocol(broker_credentials=scram) == "SASL_PLAINTEXT"
    assert protocol(broker_credentials=scram, ssl_context=context) == "SASL_SSL"
    assert protocol(broker_credentials=None) == "PLAINTEXT"


def test_credentials_from_the_environment() -> None:
    """The user stands in the URL, the mechanism in a variable of its own."""
    conf = settings({"BROKER_URL": "kafkas://ann:s3cret@a", "BROKER_CREDENTIALS": "SCRAM-SHA-512"})
    made = KafkaSettings.from_url(conf.broker_url, **conf.transport_options).credentials
    assert repr(made) == "<SASLCredentials: user 'ann', SASL_SSL SCRAM-SHA-512>"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("broker_credentials", "ann:s3cret", r"broker_credentials=\*\*\* cannot be used: these are no credentials"),
        ("broker_credentials", ("ann", "s3cret"), r"these are no credentials"),
        ("ssl_context", "ca.pem", r"it is not an ssl.SSLContext"),
        ("producer_partitioner", "no.such:function", r"it cannot be imported"),
        ("producer_partitioner", "math.pi", r"it is not a function"),
        ("broker", "kafka://ann:s3,cret@a", r"a user without password: percent-encode"),
        (
            "broker",
            "kafka://ann:s3cret@a;redis://b",
            r"broker=\*\*\* cannot be used: its URLs name more than one driver",
        ),
    ],
)
def test_security_settings_that_do_not_fit_are_refused(name: str, given: Any, message: str) -> None:
    """Without repeating what was given where that may be a secret."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        settings(**{name: given})
    assert not {"s3cret", "s3", "cret"} & set(re.findall(r"\w+", str(caught.value)))


def test_credentials_are_described_without_secrets() -> None:
    """The table and the text of settings name the user and the protocol."""
    conf = settings(broker_credentials=SASLCredentials(username="ann", password="s3cret"))
    shown = repr(conf) + "".join(row.value for row in conf.describe())
    assert "<SASLCredentials: user 'ann', SASL_PLAINTEXT PLAIN>" in shown
    assert "s3cret" not in shown


# -- settings together


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"broker_heartbeat_interval": 20}, "must be at most a third of broker_session_timeout=30"),
        (
            {"broker_rebalance_timeout": 40},
            "broker_rebalance_timeout=40 must be shorter than broker_request_timeout=40",
        ),
        ({"broker_session_timeout": 60}, "broker_session_timeout=60 must be shorter than broker_request_timeout=40"),
        (
            {"processing_guarantee": "exactly_once", "broker_commit_interval": 10},
            "must be less than half of broker_transaction_timeout=15",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_at_start(options: dict[str, Any], message: str) -> None:
    """The reasons are sentences, and come before any connection."""
    with pytest.raises(ConfigurationError, match=message):
        settings(**options).freeze()


def test_the_defaults_fit_together() -> None:
    """An app without settings starts, under both guarantees."""
    settings().freeze()
    settings(processing_guarantee="exactly_once").freeze()


# -- showing


@pytest.mark.parametrize(
    "broker", ["kafka://me:s3cret@a:1;b", "kafka://me:s3@cret@a", ["kafka://me:s3cret@a", "kafka://me:s3cret@b"]]
)
def test_no_password_is_shown(broker: Any) -> None:
    """Credentials in URLs appear in no text made from settings, nor in errors."""
    conf = settings(broker=broker)
    assert "cret@" in conf.broker_url
    assert "s3cret" not in repr(conf)
    assert "s3cret" not in "".join(row.value for row in conf.describe())
    assert "s3" not in repr(conf)
    assert "kafka://***@a" in repr(conf)
    with pytest.raises(ConfigurationError) as caught:
        settings(broker=[*broker, "redis://me:s3cret@c"] if isinstance(broker, list) else f"{broker};redis://x")
    assert "s3cret" not in str(caught.value)


def test_what_is_printed_has_no_password() -> None:
    """However settings are printed: as text, by pprint, as JSON, by ``vars``, in a log. What connects has it."""
    conf = settings({"BROKER_URL": "kafka://me:s3cret@a:1;b"})
    texts = [
        f"{conf} {conf.broker} {conf.broker[0]}",
        pformat(vars(conf)),
        pformat(conf.broker),
        json.dumps(conf.broker),
        json.dumps(vars(conf), default=str),
        f"{conf.broker}",
        ",".join(conf.broker),
        repr(list(conf.describe())),
    ]
    assert all("s3cret" not in text and "***@a:1" in text for text in texts)
    assert conf.broker_url == "kafka://me:s3cret@a:1,kafka://b"
    assert getattr(conf.broker[0], "clear", None) == "kafka://me:s3cret@a:1"
    assert (
        settings(broker=conf.broker).broker_url
        == settings(broker=copy.deepcopy(conf.broker)).broker_url
        == conf.broker_url
    )
    with pytest.raises(ConfigurationError, match="its password is left out"):
        settings(broker=",".join(conf.broker))


def test_secrets_of_ones_own() -> None:
    """A subclass may add settings, in a section of its own; a secret among them is not shown."""

    class Own(Settings):
        token = Parameter(str, "", "Token of the shop.", secret=True)
        web_port = Parameter(int, 1, "Another port.")

    conf = Own("shop", environ={"TOKEN": "s3cret"})
    rows = {row.name: row for row in conf.describe()}
    assert (conf.token, conf.web_port, rows["token"].value, rows["token"].section) == (
        "s3cret",
        1,
        "***",
        "Of one's own",
    )
    assert "s3cret" not in repr(conf)
    assert rows["web_port"].default == "1"
    with pytest.raises(UnknownSettingError, match="did you mean 'token'"):
        Own("shop", environ={}, tokn="x")


def test_where_a_value_is_from() -> None:
    """Each row says it, and which variable would change it."""
    conf = settings({"X_WEB_PORT": "2", "FAUST_DATADIR": "d"}, env_prefix="X", origin="proj", web_host="h")
    conf.load({"topic_partitions": 3, "web_port": 4})
    conf.web_host = "i"
    rows = {row.name: row for row in conf.describe()}
    named = ("web_port", "datadir", "origin", "topic_partitions", "web_host", "broker")
    assert [rows[name].source for name in named] == [
        "environment variable X_WEB_PORT",
        "environment variable FAUST_DATADIR",
        "argument",
        "configuration mapping",
        "assignment",
        "default",
    ]
    assert rows["web_port"].env == "X_WEB_PORT"
    conf.load({"datadir": "e"})  # what only replaces the default is as weak for this
    assert conf.datadir == Path("e")
    conf.datadir = None
    assert (conf.datadir, conf.sources["datadir"]) == (Path("d"), "environment variable FAUST_DATADIR")
    conf.topic_partitions = None
    assert "topic_partitions" not in conf.sources


def test_every_setting_is_described() -> None:
    """The table has a sentence for each setting, and values that were changed."""
    rows = {row.name: row for row in settings(web_port=1).describe()}
    assert all(
        row.help.endswith(".") and row.section and row.kind and (row.env.isupper() or not row.env)
        for row in rows.values()
    )
    assert (rows["web_port"].value, rows["web_port"].default, rows["web_port"].env) == ("1", "6066", "WEB_PORT")
    assert repr(settings(web_port=1)) == "<Settings shop: web_port=1>"
