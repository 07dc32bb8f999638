"""One connection to a broker, logged in: aiokafka's, whose failures are all errors that the client's tasks survive."""

from __future__ import annotations

import asyncio
from typing import Any

import aiokafka.errors as kafka
from aiokafka.conn import AIOKafkaConnection

from stream_kafka.connecting.login import BearerLogin, ScramLogin

__all__ = ["Connection"]


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """Connect and log in, within a deadline; whatever goes wrong is an OSError or an error of aiokafka.

    Args:
        host: name of the broker.
        port: port of the broker.
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

    def authenticator_scram(self) -> ScramLogin:
        """Return the steps of SCRAM."""
        return ScramLogin(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    def authenticator_oauth(self) -> BearerLogin:
        """Return the steps of OAUTHBEARER."""
        return BearerLogin(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except (kafka.KafkaError, OSError, TimeoutError):
            raise
        except Exception as error:
            # A broker that cannot prove that it knows the password (SCRAM), or Kerberos.
            raise kafka.AuthenticationFailedError(f"{type(error).__name__}: {error}") from error
