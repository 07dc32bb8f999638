"""One connection to a broker, with its log-in: aiokafka's, with what Stream needs of it changed."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any
from weakref import WeakKeyDictionary

import aiokafka.errors as kafka
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, ScramAuthenticator

from stream_core.errors import MissingPackageError
from stream_kafka.credentials import (
    Credentials,
    GSSAPICredentials,
    OAuthCredentials,
    SASLCredentials,
)

__all__ = ["Connection", "TokenError", "TokenSource", "security_options"]


_FEWEST_ITERATIONS = 4096
"""What the standard of SCRAM asks for, and the fewest that Kafka lets anybody store."""

_sources: WeakKeyDictionary[OAuthCredentials, TokenSource] = WeakKeyDictionary()
"""All clients with the same credentials share a source: a function that hangs is called once, not once for each client."""


class TokenError(kafka.KafkaConnectionError):  # type: ignore[misc]
    """No token could be had: to the client a connection that broke, so that it tries again."""


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]
    """Asks ``oauth_cb`` for a token, in bounded time, and makes what it raises an error that the client expects.

    A function that is not async has a thread of its own, and is not called again before it has returned. So one that hangs takes no
    thread of the pool, which also looks up host names and writes stores; and nobody waits for it when the program ends.

    Args:
        oauth_cb: a function, sync or async, or an object with a method ``token``.
        timeout: seconds.
    """

    def __init__(self, oauth_cb: Any, timeout: float) -> None:
        self._ask = getattr(oauth_cb, "token", oauth_cb)
        self._extensions = getattr(oauth_cb, "extensions", None)
        self._timeout = timeout
        self._call: Future[Any] | None = None

    async def token(self) -> str:
        """Give a token."""
        try:
            async with asyncio.timeout(self._timeout):
                # A function that is not async may wait for its identity provider: not in the event loop.
                made = self._ask() if inspect.iscoroutinefunction(self._ask) else await self._in_thread()
                token = await made if inspect.isawaitable(made) else made
        except TimeoutError as error:
            raise TokenError(f"oauth_cb gave no token within {self._timeout:g} s") from error
        except Exception as error:
            raise TokenError(f"oauth_cb gave no token, it raised {type(error).__name__}: {error}") from error
        if not isinstance(token, str):
            raise TokenError(f"oauth_cb gave no token but a {type(token).__name__}; it must return text")
        return token

    async def _in_thread(self) -> Any:
        call = self._call
        if call is None or call.done():
            call = self._call = Future()
            call.set_running_or_notify_cancel()  # so that nobody who stops waiting cancels it
            threading.Thread(target=self._run, args=(call,), name="oauth_cb", daemon=True).start()
        return await asyncio.wrap_future(call)

    def _run(self, call: Future[Any]) -> None:
        try:
            call.set_result(self._ask())
        except BaseException as error:
            call.set_exception(error)

    def extensions(self) -> Mapping[str, str]:
        """Give what is sent beside the token."""
        found: Mapping[str, str] = self._extensions() if callable(self._extensions) else {}
        return found


class _Bearer(OAuthAuthenticator):  # type: ignore[misc]
    """aiokafka's OAUTHBEARER, which takes a refusal for a success: the broker says why in an answer that has to be answered."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Give what is sent next, or ``None`` at the end."""
        if self._token_sent:
            return (b"\x01", True) if payload else None
        made: tuple[bytes, bool] = await super().step(payload)
        return made


class _Scram(ScramAuthenticator):  # type: ignore[misc]
    """aiokafka's SCRAM, which takes any number of iterations.

    Whoever stands between asks for one, and tries passwords on the answer at leisure. Kafka stores 4,096 or more.
    """

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Derive the key of the password. Raises ValueError for a number of iterations that no Kafka broker asks for."""
        if iterations < _FEWEST_ITERATIONS:
            raise ValueError(
                f"the broker asks for {iterations} iterations, which Kafka does not do; is it Kafka, and nobody in between?"
            )
        super().create_salted_password(salt, iterations)


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection; whatever goes wrong before it can be used is an error that the client's tasks survive, and soon.

    Args:
        host: name of the broker.
        port: of the broker.
        connect_timeout: seconds for the connection, its TLS handshake and its log-in together.
        **options: those of aiokafka.
    """

    def __init__(self, host: str, port: int, *, connect_timeout: float, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._connect_timeout = connect_timeout

    async def connect(self) -> Any:
        """Connect, and log in.

        Raises:
            OSError: there is no connection, or not in time.
            aiokafka.errors.KafkaError: the broker refuses the log-in, or answers something else than Kafka.
        """
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await super().connect()
        except (kafka.KafkaError, OSError):
            raise
        except Exception as error:
            raise kafka.KafkaConnectionError(f"its answers make no sense: {error!r}") from error

    def authenticator_scram(self) -> _Scram:
        """The steps of SCRAM."""
        return _Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    def authenticator_oauth(self) -> _Bearer:
        """The steps of OAUTHBEARER."""
        return _Bearer(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except (kafka.KafkaError, OSError, TimeoutError):
            raise
        except Exception as error:
            # A broker that cannot prove that it knows the password (SCRAM), or Kerberos.
            raise kafka.AuthenticationFailedError(f"{type(error).__name__}: {error}") from error


def security_options(credentials: Credentials | None, timeout: float) -> dict[str, Any]:
    """What a connection is told about credentials, in aiokafka's names.

    Args:
        credentials: of the cluster, complete.
        timeout: seconds within which a token must come.

    Raises:
        MissingPackageError: they need a package that is not installed.
    """
    if credentials is None:
        return {"security_protocol": "PLAINTEXT"}
    options: dict[str, Any] = {
        "security_protocol": credentials.protocol.value,
        "ssl_context": credentials.ssl_context,
        "sasl_mechanism": credentials.mechanism.value if credentials.mechanism is not None else None,
    }
    match credentials:
        case SASLCredentials():
            options["sasl_plain_username"] = credentials.username
            options["sasl_plain_password"] = credentials.password
        case OAuthCredentials():
            if (source := _sources.get(credentials)) is None:
                source = _sources[credentials] = TokenSource(credentials.oauth_cb, timeout)
            options["sasl_oauth_token_provider"] = source
        case GSSAPICredentials():
            if importlib.util.find_spec("gssapi") is None:
                raise MissingPackageError("GSSAPICredentials need Kerberos; pip install stream-kafka[gssapi]")
            options["sasl_kerberos_service_name"] = credentials.kerberos_service_name
            options["sasl_kerberos_domain_name"] = credentials.kerberos_domain_name
    return options
