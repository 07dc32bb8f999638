"""Every name of Faust that programs import is here, or a sentence says why it is not."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

import pytest

import faust
import stream_app
from stream_app.absent import ABSENT, Finder

NAMES = {
    "faust": """
        Agent App Channel ChannelT Event EventT ModelOptions Record Monitor Sensor Codec Schema Stream StreamT current_event
        GlobalTable SetTable SetGlobalTable Table Topic TopicT GSSAPICredentials SASLCredentials SSLCredentials OAuthCredentials
        Settings HoppingWindow TumblingWindow SlidingWindow Window Worker uuid Service ServiceT Model Command AppCommand""",
    "faust.types": """
        ServiceT AgentManagerT AgentT AppT CodecArg CodecT HeadersArg K V FieldDescriptorT FixupT JoinT ModelArg ModelOptions ModelT
        SensorT RegistryT SchemaT StoreT JoinableT Processor StreamT CollectionT TableT ProcessingGuarantee ChannelT EventT TopicT
        ConsumerCallback ConsumerT ProducerT TransportT ConsumerMessage FutureMessage Message MessageSentCallback PendingMessage
        RecordMetadata TP WindowRange WindowT""",
    "faust.types.core": "HeadersArg K V merge_headers",
    "faust.types.tuples": "TP RecordMetadata FutureMessage Message ConsumerMessage MessageSentCallback tp_set_to_map",
    "faust.types.enums": "ProcessingGuarantee",
    "faust.types.settings": "Settings",
    "faust.types.auth": "AuthProtocol SASLMechanism CredentialsT",
    "faust.exceptions": """
        FaustError FaustWarning FaustPredicate SecurityError SecurityWarning NotReady Skip AlreadyConfiguredWarning
        ImproperlyConfigured ValidationError DecodeError KeyDecodeError ValueDecodeError SameNode ProducerSendError
        ConsumerNotStarted PartitionsMismatch ConsistencyError""",
    "faust.models": "FieldDescriptor Model ModelOptions Record StringField maybe_model registry",
    "faust.models.fields": """
        FieldDescriptor BooleanField NumberField IntegerField FloatField DecimalField CharField StringField BytesField DatetimeField
        field_for_type""",
    "faust.models.tags": "Tag OpaqueTag TransparentTag Secret Sensitive Personal allow_protected_vars",
    "faust.serializers": "Codec Schema Registry",
    "faust.serializers.codecs": "Codec register get_codec dumps loads",
    "faust.cli": "AppCommand Command argument call_command option",
    "faust.cli.worker": "worker",
    "faust.cli.faust": "cli",
    "faust.web": "Request Response ResourceOptions Web Blueprint View gives_model takes_model",
    "faust.web.base": "Request Response ResourceOptions Web",
    "faust.web.blueprints": "Blueprint",
    "faust.web.cache": "Cache",
    "faust.web.cache.exceptions": "CacheUnavailable",
    "faust.web.views": "View gives_model takes_model",
    "faust.web.exceptions": """
        WebError ServerError ValidationError ParseError AuthenticationFailed NotAuthenticated PermissionDenied NotFound MethodNotAllowed
        NotAcceptable UnsupportedMediaType Throttled ServiceUnavailable""",
    "faust.utils": "uuid",
    "faust.utils.iso8601": "parse",
    "faust.utils.json": "dumps loads",
    "faust.agents": "Agent current_agent",
    "faust.app": "App",
    "faust.auth": "GSSAPICredentials OAuthCredentials SASLCredentials SSLCredentials",
    "faust.channels": "Channel ChannelT",
    "faust.events": "Event EventT",
    "faust.streams": "Stream StreamT current_event",
    "faust.tables": "Table",
    "faust.topics": "Topic TopicT",
    "faust.windows": "HoppingWindow SessionWindow SlidingWindow TumblingWindow Window WindowRange",
    "faust.worker": "Worker",
}
"""What programs for Faust import, by module."""

MODULES = (
    "assignor",
    "contrib.asgi",
    "fixups.django",
    "joins",
    "livecheck",
    "transport",
)
"""Modules of Faust that have nothing here."""


def pairs() -> list[tuple[str, str]]:
    """Module and name, for each name; those that the guides' other spelling has too."""
    found = [(module, name) for module, names in NAMES.items() for name in names.split()]
    own = [(module.replace("faust", "stream_app", 1), name) for module, name in found]
    return found + [pair for pair in own if pair[0].split(".")[1:2] in ([], *([one] for one in stream_app.SUBMODULES))]


def look_up(module: str, name: str) -> Any:
    """What ``from module import name`` gives."""
    names: dict[str, Any] = {}
    exec(f"from {module} import {name} as found", names)
    return names["found"]


@pytest.mark.parametrize(("module", "name"), pairs())
def test_a_name_is_here_or_a_sentence_says_why_not(module: str, name: str) -> None:
    """A name of Faust can be imported, or both kinds of looking for it give the reason."""
    if name not in ABSENT:
        assert look_up(module, name) is getattr(importlib.import_module(module), name)
        return
    with pytest.raises(ImportError, match=f"{module} has no {name}: \\w+"):
        look_up(module, name)
    with pytest.raises(AttributeError, match=f"{module} has no {name}: \\w+"):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_is_not_here_says_why(name: str) -> None:
    """The import of a module of Faust that is not here gives the reason, not only that there is none."""
    with pytest.raises(ModuleNotFoundError, match=rf"faust has no {name.split('.')[0]}: \w+"):
        importlib.import_module(f"faust.{name}")


def test_a_name_that_is_mistyped_is_answered_with_the_nearest() -> None:
    """A name that exists nowhere is an AttributeError that names one that does; ``hasattr`` says no."""
    with pytest.raises(AttributeError, match=r"faust has no Chanel: did you mean Channel\?"):
        faust.Chanel  # type: ignore[attr-defined]  # noqa: B018 - looking it up is what is tested
    assert not hasattr(faust, "nothing_like_it")


def test_other_modules_get_pythons_own_answer() -> None:
    """The reasons are given in these two packages only, and for these names only."""
    for name in ("faust.nothing", "faustus.sensors", "sensors"):
        with pytest.raises(ModuleNotFoundError, match="No module named"):
            importlib.import_module(name)
    assert sum(isinstance(one, Finder) for one in sys.meta_path) == 2


def modules(package: ModuleType) -> list[str]:
    """The names of the modules of a package that are made for programs, below its own name."""
    roots = [package.__name__] if package is faust else [f"stream_app.{name}" for name in stream_app.SUBMODULES]
    found = [
        one.name
        for root in roots
        for one in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}.")
        if not one.name.endswith("__main__")
    ]
    return sorted({*roots, *found} - {package.__name__})


@pytest.mark.parametrize("name", [*modules(faust), *modules(stream_app)])
def test_modules_have_what_they_list(name: str) -> None:
    """Each module for programs lists its names in order, and has each of them."""
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    for one in names:
        getattr(module, one)


@pytest.mark.parametrize("name", modules(stream_app))
def test_faust_has_the_same_modules(name: str) -> None:
    """What Stream has for programs, ``faust`` has by the same names, and they are the same objects."""
    ours, faust_s = importlib.import_module(name), importlib.import_module(name.replace("stream_app", "faust", 1))
    assert sorted(ours.__all__) == sorted(faust_s.__all__)
    assert all(getattr(ours, one) is getattr(faust_s, one) for one in ours.__all__)


def test_submodules_are_attributes_of_the_package() -> None:
    """``faust.types.TP`` works behind ``import faust`` alone."""
    for package in (faust, stream_app):
        for name in package.SUBMODULES:
            assert getattr(package, name) is importlib.import_module(f"{package.__name__}.{name}")
    assert faust.__version__ == stream_app.__version__
