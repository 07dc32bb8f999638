"""Say why a broker could not be connected to: in one sentence, with what to do about it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import aiokafka.errors as kafka

from stream_core.errors import AuthenticationError, BrokerUnavailableError, TransportError
from stream_kafka.connecting.login import TokenError
from stream_kafka.credentials import Credentials, SASLCredentials

__all__ = ["why"]

_WRONG_HOST = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_REFUSED = (kafka.SaslAuthenticationFailed, kafka.AuthenticationFailedError)


def why(error: BaseException, address: str, credentials: Credentials | None) -> TransportError:
    """Return the reason as an error of ours: AuthenticationError when waiting does not help, else BrokerUnavailableError.

    Args:
        error: what the client raised.
        address: ``host:port`` of the broker.
        credentials: what the client logs in with.
    """
    reasons = list(_causes(error))
    for reason in reasons:
        if (permanent := _refusal(reason, address, credentials)) is not None:
            made: TransportError = AuthenticationError(permanent)
            break
    else:
        made = BrokerUnavailableError(_absence(reasons, address, credentials))
    made.__cause__ = error
    return made


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what it was raised from, the last cause at the end."""
    while error is not None:
        yield error
        error = error.__cause__


def _refusal(error: BaseException, address: str, credentials: Credentials | None) -> str | None:
    """Say why a broker that was reached refuses this client, and what to change; ``None`` when it does not refuse it."""
    who = credentials.who if credentials is not None else "this client"
    mechanism = credentials.mechanism if credentials is not None else None
    match error:
        case kafka.UnsupportedSaslMechanismError():
            return (
                f"{address} does not offer {mechanism}; choose one of its sasl.enabled.mechanisms in broker_credentials"
            )
        case kafka.IllegalSaslStateError():
            return f"{address} is a listener without log-in; take the credentials away, or use the port for {mechanism}"
        case _ if isinstance(error, _REFUSED):
            said = str(error.args[0] or "").removeprefix("Authentication failed: ") if error.args else ""
            detail = f": {said}" if said else ""
            where = ", or user and password in the broker URL" if isinstance(credentials, SASLCredentials) else ""
            return f"{address}: authentication failed for {who} ({mechanism}){detail}; check broker_credentials{where}"
        case ssl.SSLCertVerificationError() if error.verify_code in _WRONG_HOST:
            return (
                f"{address}: its certificate is for another host name ({error.verify_message}); "
                "connect by a name that the certificate has, or get one that has this name"
            )
        case ssl.SSLCertVerificationError():
            return (
                f"{address}: its certificate is not trusted ({error.verify_message}); "
                "name the authority that signed it: broker_credentials=SSLCredentials(cafile=...)"
            )
        case ssl.SSLError() if error.reason and "ALERT" in error.reason and "INTERNAL" not in error.reason:
            return (
                f"{address} refuses the TLS handshake ({error.reason}); it may want a certificate of this client: "
                "load one into a context (load_cert_chain) and give SSLCredentials(context)"
            )
    return None


def _absence(reasons: list[BaseException], address: str, credentials: Credentials | None) -> str:
    """Say why nobody answers at an address, as far as the errors show."""
    if (token_error := next((reason for reason in reasons if isinstance(reason, TokenError)), None)) is not None:
        return f"{address}: {token_error.args[0]}"
    error = reasons[-1]
    # The last cause of a deadline is a cancellation, and there are more below it.
    if any(isinstance(reason, TimeoutError) for reason in reasons):
        return f"{address} does not answer"
    if isinstance(error, ConnectionResetError | EOFError | ssl.SSLError | kafka.KafkaConnectionError):
        tls = credentials is not None and credentials.ssl_context is not None
        guesses = ["have no TLS on this port (kafka://)" if tls else "want TLS (kafkas://)"]
        if credentials is None or credentials.mechanism is None:
            guesses.append("want a log-in (broker_credentials)")
        return f"{address} closes the connection without an answer; it may {', '.join(guesses)}, or be no Kafka"
    if isinstance(error, OSError):
        return f"{address} {os.strerror(error.errno) if error.errno and error.errno > 0 else error}"
    return f"{address}: {str(error) or type(error).__name__}"
