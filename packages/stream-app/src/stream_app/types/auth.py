"""How a program proves to brokers who it is."""

from typing import TypeAlias

from stream_kafka.credentials import (
    AuthProtocol,
    GSSAPICredentials,
    OAuthCredentials,
    SASLCredentials,
    SASLMechanism,
    SSLCredentials,
)

__all__ = ["AuthProtocol", "CredentialsT", "SASLMechanism"]

CredentialsT: TypeAlias = GSSAPICredentials | OAuthCredentials | SASLCredentials | SSLCredentials
