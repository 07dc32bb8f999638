"""Say how a client proves who it is, and how it knows the broker: what ``broker_credentials`` takes.

Plain values: importing them loads no Kafka client. None of them shows a secret in its text.
"""

from __future__ import annotations

import copy
import ssl
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from stream_core.errors import ConfigurationError

__all__ = [
    "AuthProtocol",
    "Credentials",
    "GSSAPICredentials",
    "OAuthCredentials",
    "SASLCredentials",
    "SASLMechanism",
    "SSLCredentials",
    "combined",
    "to_credentials",
]


class AuthProtocol(StrEnum):
    """Whether a connection is encrypted, and whether the client logs in."""

    PLAINTEXT = "PLAINTEXT"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"
    SSL = "SSL"


class SASLMechanism(StrEnum):
    """How a client logs in."""

    GSSAPI = "GSSAPI"
    OAUTHBEARER = "OAUTHBEARER"
    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Credentials:
    """What all credentials have in common.

    Attributes:
        mechanism: how the client logs in; ``None`` when TLS is all.
        ssl_context: what encrypts the connection and checks the broker's certificate; ``None`` for no TLS.
    """

    mechanism: SASLMechanism | None = None
    ssl_context: ssl.SSLContext | None = None

    @property
    def protocol(self) -> AuthProtocol:
        """The security protocol, as the listeners of brokers have it.

        :meta private:
        """
        if self.mechanism is None:
            return AuthProtocol.SSL if self.ssl_context is not None else AuthProtocol.PLAINTEXT
        return AuthProtocol.SASL_SSL if self.ssl_context is not None else AuthProtocol.SASL_PLAINTEXT

    @property
    def who(self) -> str:
        """Who logs in, for messages.

        :meta private:
        """
        return "this client"

    def over(self, context: ssl.SSLContext | None) -> Self:
        """Return the same credentials over TLS, unless they have a context of their own.

        :meta private:
        """
        if context is None or self.ssl_context is not None:
            return self
        made = copy.copy(self)
        made.ssl_context = context
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.who}, {self.protocol}{f' {self.mechanism}' if self.mechanism else ''}>"


class SSLCredentials(Credentials):
    """TLS: the broker shows a certificate, which is checked, its host name included; the client may show one too.

    Args:
        context: a context to use as it is. Without one a context is made that trusts the authorities of this machine, or those named
            by the other arguments.
        purpose: of the context that is made; only ``ssl.Purpose.SERVER_AUTH`` fits a client.
        cafile: PEM file with the certificates of authorities to trust, and no others.
        capath: directory of such files.
        cadata: such certificates as text (PEM) or bytes (DER).

    Raises:
        ConfigurationError: the certificates cannot be read, or the context is one for servers.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        purpose: ssl.Purpose | None = None,
        cafile: str | Path | None = None,
        capath: str | Path | None = None,
        cadata: str | bytes | None = None,
    ) -> None:
        if context is None:
            try:
                context = ssl.create_default_context(
                    purpose or ssl.Purpose.SERVER_AUTH, cafile=cafile, capath=capath, cadata=cadata
                )
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                what = cafile or capath or "cadata"
                raise ConfigurationError(
                    f"the certificates of authorities in {what} cannot be read: {error}"
                ) from error
        if context.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "this SSL context is one for servers; make it with purpose=ssl.Purpose.SERVER_AUTH (the server is checked)"
            )
        self.ssl_context: ssl.SSLContext = context

    @property
    def context(self) -> ssl.SSLContext:
        """The context."""
        return self.ssl_context


class SASLCredentials(Credentials):
    """User and password.

    Args:
        username: the user; those of the broker URL when left out.
        password: the password; never shown.
        ssl_context: a context for TLS, without which a password of ``PLAIN`` can be read on the network.
        mechanism: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.

    Raises:
        ConfigurationError: the mechanism is another, or one of user and password is missing.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mechanism: SASLMechanism | str | None = None,
    ) -> None:
        known = (SASLMechanism.PLAIN, SASLMechanism.SCRAM_SHA_256, SASLMechanism.SCRAM_SHA_512)
        if mechanism is not None and mechanism not in known:
            raise ConfigurationError(f"mechanism={str(mechanism)!r} takes no user and password; use {', '.join(known)}")
        if (username is None) != (password is None):
            missing = "username" if username is None else "password"
            raise ConfigurationError(
                f"SASLCredentials without {missing}: give both, or none to use those of the broker URL"
            )
        self.username = username
        self.password = password
        self.ssl_context = ssl_context
        self.mechanism: SASLMechanism = SASLMechanism(mechanism or SASLMechanism.PLAIN)

    @property
    def who(self) -> str:
        """Who logs in, for messages.

        :meta private:
        """
        return f"user {self.username!r}" if self.username is not None else "the user of the broker URL"

    def of_user(self, username: str, password: str) -> SASLCredentials:
        """Return the same credentials for a user, unless they have one.

        :meta private:
        """
        if self.username is not None:
            return self
        return SASLCredentials(
            username=username, password=password, ssl_context=self.ssl_context, mechanism=self.mechanism
        )


class GSSAPICredentials(Credentials):
    """Kerberos, with the ticket of this process (``kinit``, or a keytab). Needs ``stream-kafka[gssapi]``.

    Args:
        kerberos_service_name: first part of the principal of the brokers.
        kerberos_domain_name: second part of it; the host name of each broker when left out.
        ssl_context: a context for TLS.
        mechanism: ``GSSAPI``.

    Raises:
        ConfigurationError: the mechanism is another.
    """

    def __init__(
        self,
        *,
        kerberos_service_name: str = "kafka",
        kerberos_domain_name: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mechanism: SASLMechanism | str | None = None,
    ) -> None:
        if mechanism not in (None, SASLMechanism.GSSAPI):
            raise ConfigurationError(f"mechanism={str(mechanism)!r} is not that of GSSAPICredentials; leave it out")
        self.kerberos_service_name = kerberos_service_name
        self.kerberos_domain_name = kerberos_domain_name
        self.ssl_context = ssl_context
        self.mechanism: SASLMechanism = SASLMechanism.GSSAPI

    @property
    def who(self) -> str:
        """Who logs in, for messages.

        :meta private:
        """
        return f"the Kerberos ticket of this process (service {self.kerberos_service_name})"


class OAuthCredentials(Credentials):
    """A bearer token for each connection (``OAUTHBEARER``).

    Args:
        oauth_cb: gives a token: a function, sync (it runs in a thread) or async, or an :class:`aiokafka.abc.AbstractTokenProvider`. It is
            asked at each connection, so it should keep a token until that expires.
        ssl_context: a context for TLS, without which the token can be read on the network.

    Raises:
        ConfigurationError: ``oauth_cb`` is none of these.
    """

    def __init__(
        self, *, oauth_cb: Callable[[], str | Awaitable[str]] | Any, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        if not callable(oauth_cb) and not callable(getattr(oauth_cb, "token", None)):
            raise ConfigurationError(
                f"oauth_cb is a {type(oauth_cb).__name__}; give a function that returns a token, or an object with a method token()"
            )
        self.oauth_cb = oauth_cb
        self.ssl_context = ssl_context
        self.mechanism: SASLMechanism = SASLMechanism.OAUTHBEARER

    @property
    def who(self) -> str:
        """Who logs in, for messages.

        :meta private:
        """
        return "the token of oauth_cb"


def to_credentials(value: object) -> Credentials:
    """Make credentials of what users write.

    Args:
        value: credentials; an :class:`ssl.SSLContext`; or text, as in an environment variable: ``SSL``, ``GSSAPI``, or the mechanism
            for the user and password of the broker URL.

    Raises:
        ConfigurationError: it is none of these; the value is not shown.
    """
    if isinstance(value, Credentials):
        return value
    if isinstance(value, ssl.SSLContext):
        return SSLCredentials(value)
    match str(value).strip().upper() if isinstance(value, str) else None:
        case "SSL":
            return SSLCredentials()
        case SASLMechanism.GSSAPI:
            return GSSAPICredentials()
        case (SASLMechanism.PLAIN | SASLMechanism.SCRAM_SHA_256 | SASLMechanism.SCRAM_SHA_512) as mechanism:
            return SASLCredentials(mechanism=mechanism)
    raise ConfigurationError(
        "these are no credentials: give SSLCredentials, SASLCredentials, GSSAPICredentials, OAuthCredentials or an ssl.SSLContext; "
        "or as text SSL, GSSAPI, PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with user and password in the broker URL"
    )


def combined(
    given: Credentials | None, *, user: tuple[str, str] | None = None, context: ssl.SSLContext | None = None
) -> Credentials | None:
    """Make the credentials of a cluster of all that was said about it.

    Args:
        given: credentials; what they say wins.
        user: user and password of the broker URL.
        context: for TLS.

    Raises:
        ConfigurationError: there is a user that these credentials have no use for, or none where they need one.
    """
    if user is not None:
        if given is None or isinstance(given, SSLCredentials):
            given = SASLCredentials(ssl_context=None if given is None else given.ssl_context)
        if not isinstance(given, SASLCredentials):
            raise ConfigurationError(
                f"the broker URL has a user, and {type(given).__name__} logs in without one: take it out of the URL"
            )
        given = given.of_user(*user)
    if isinstance(given, SASLCredentials) and given.username is None:
        raise ConfigurationError(
            f"{given.mechanism} needs user and password: give username= and password= to SASLCredentials, "
            "or write kafka://user:password@host"
        )
    if given is None:
        return SSLCredentials(context) if context is not None else None
    return given.over(context)
