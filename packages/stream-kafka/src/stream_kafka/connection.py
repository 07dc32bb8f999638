"""One connection to a broker, with its log-in: aiokafka's, with what Stream needs of it changed."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

import aiokafka.errors as kafka
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator

from stream_core.errors import MissingPackageError
from stream_kafka.credentials import (
    Credentials,
    GSSAPICredentials,
    OAuthCredentials,
    SASLCredentials,
)

__all__ = ["Connection", "TokenError", "TokenSource", "security_options"]


class TokenError(kafka.KafkaConnectionError):  # type: ignore[misc]
    """No token could be had: to the client a connection that broke, so that it tries again."""


class TokenSource(AbstractTokenProvider):  # type: ignore[misc]
    """Asks ``oauth_cb`` for a token, in bounded time, and makes what it raises an error that the client expects.

    Args:
        oauth_cb: a function, sync or async, or an object with a method ``token``.
        timeout: seconds.
    """

    def __init__(self, oauth_cb: Any, timeout: float) -> None:
        self._ask = getattr(oauth_cb, "token", oauth_cb)
        self._extensions = getattr(oauth_cb, "extensions", None)
        self._timeout = timeout

    async def token(self) -> str:
        """Give a token."""
        try:
            async with asyncio.timeout(self._timeout):
                # A function that is not async may wait for its identity provider: not in the event loop.
                made = self._ask() if inspect.iscoroutinefunction(self._ask) else await asyncio.to_thread(self._ask)
                token = await made if inspect.isawaitable(made) else made
        except TimeoutError as error:
            raise TokenError(f"oauth_cb gave no token within {self._timeout:g} s") from error
        except Exception as error:
            raise TokenError(f"oauth_cb gave no token, it raised {type(error).__name__}: {error}") from error
        if not isinstance(token, str):
            raise TokenError(f"oauth_cb gave no token but a {type(token).__name__}; it must return text")
        return token

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


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection; whatever goes wrong in its log-in is an error that the client's tasks survive."""

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
            options["sasl_oauth_token_provider"] = TokenSource(credentials.oauth_cb, timeout)
        case GSSAPICredentials():
            if importlib.util.find_spec("gssapi") is None:
                raise MissingPackageError("GSSAPICredentials need Kerberos; pip install stream-kafka[gssapi]")
            options["sasl_kerberos_service_name"] = credentials.kerberos_service_name
            options["sasl_kerberos_domain_name"] = credentials.kerberos_domain_name
    return options
