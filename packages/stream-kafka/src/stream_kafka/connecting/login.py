"""Log in to a broker: the steps of aiokafka for SCRAM and bearer tokens, guarded against brokers and functions that misbehave."""

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
from aiokafka.conn import OAuthAuthenticator, ScramAuthenticator

from stream_core.errors import MissingPackageError
from stream_kafka.credentials import Credentials, GSSAPICredentials, OAuthCredentials, SASLCredentials

__all__ = ["BearerLogin", "ScramLogin", "TokenError", "TokenSource", "security_options"]

_FEWEST_ITERATIONS = 4096
"""What RFC 7677 asks for, and the fewest that Kafka lets anybody store."""

_MOST_ITERATIONS = 2**17
"""Eight times what Kafka lets anybody store (16,384, KIP-554), for passwords that were stored by other means: a tenth of a second."""

_sources: WeakKeyDictionary[OAuthCredentials, TokenSource] = WeakKeyDictionary()
"""All clients with the same credentials share a source: a function that hangs is called once, and not once for each client."""


class TokenError(kafka.KafkaConnectionError):  # type: ignore[misc]
    """There is no token: to the client a connection that broke, so that it tries again."""


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]
    """Ask ``oauth_cb`` for a token, in bounded time, and turn what it raises into an error that the client expects.

    A plain function runs in a thread of its own, and is called again only after it has returned. So one that hangs leaves the shared
    pool of threads alone, which also looks up host names and writes stores; and the program ends without waiting for it.

    Args:
        oauth_cb: a function, sync or async, or an object with a method ``token``.
        timeout: seconds for one token.
    """

    def __init__(self, oauth_cb: Any, timeout: float) -> None:
        self._ask = getattr(oauth_cb, "token", oauth_cb)
        self._extensions = getattr(oauth_cb, "extensions", None)
        self._timeout = timeout
        self._call: Future[Any] | None = None

    async def token(self) -> str:
        """Return a token. Raises TokenError."""
        try:
            async with asyncio.timeout(self._timeout):
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
            call.set_running_or_notify_cancel()  # so that a waiter that is cancelled leaves the call alone
            threading.Thread(target=self._run, args=(call,), name="oauth_cb", daemon=True).start()
        return await asyncio.wrap_future(call)

    def _run(self, call: Future[Any]) -> None:
        try:
            call.set_result(self._ask())
        except BaseException as error:
            call.set_exception(error)

    def extensions(self) -> Mapping[str, str]:
        """Return what is sent beside the token."""
        found: Mapping[str, str] = self._extensions() if callable(self._extensions) else {}
        return found


class BearerLogin(OAuthAuthenticator):  # type: ignore[misc]
    """Log in with a token (OAUTHBEARER), and notice a refusal.

    aiokafka takes a refusal for a success: the broker says why in an answer, and waits for an answer to that (RFC 7628).
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return what is sent next, or ``None`` at the end."""
        if self._token_sent:
            return (b"\x01", True) if payload else None
        made: tuple[bytes, bool] = await super().step(payload)
        return made


class ScramLogin(ScramAuthenticator):  # type: ignore[misc]
    """Log in by SCRAM, with a number of iterations within bounds; aiokafka takes any number.

    Whoever stands between client and broker asks for one, to try passwords on the answer at leisure; or for a billion, which keeps the
    event loop for minutes, heartbeats included.
    """

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Derive the key of the password. Raises ValueError for a number of iterations that a Kafka broker never asks for."""
        if not _FEWEST_ITERATIONS <= iterations <= _MOST_ITERATIONS:
            raise ValueError(
                f"the broker asks for {iterations} iterations of SCRAM, a Kafka broker for {_FEWEST_ITERATIONS} to {_MOST_ITERATIONS}; "
                "check that this is Kafka, and that nobody stands in between"
            )
        super().create_salted_password(salt, iterations)


def security_options(credentials: Credentials | None, timeout: float) -> dict[str, Any]:
    """Return what a connection is told about credentials, in aiokafka's names.

    Args:
        credentials: those of the cluster, complete.
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
                raise MissingPackageError("GSSAPICredentials need Kerberos; pip install 'stream-kafka[gssapi]'")
            options["sasl_kerberos_service_name"] = credentials.kerberos_service_name
            options["sasl_kerberos_domain_name"] = credentials.kerberos_domain_name
    return options
