"""A broker whose listeners want log-ins and TLS, and what clients need for them."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import trustme
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest
from cryptography.hazmat.primitives import serialization

from stream_kafka.broker import Broker
from stream_kafka.broker.ports import HOST, free_port
from stream_kafka.connecting.client import Client
from stream_kafka.settings import KafkaSettings

__all__ = ["OTHER", "PASSWORD", "USER", "Grant", "Secured", "token"]

USER, OTHER, PASSWORD = "ann", "bob", "s3cr3t-p@ss/w0rd"
"""A user that may do everything, one that may do what it is granted, and the password of both."""

_PROTOCOLS = {
    "PASSWORDS": "SASL_PLAINTEXT",
    "TOKENS": "SASL_PLAINTEXT",
    "BRIEF": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "ELSEWHERE": "SSL",
    "MUTUAL": "SSL",
    "SAFE": "SASL_SSL",
}
_MODULES = "org.apache.kafka.common.security"


_ALLOW = 3
_ANY = 1
_KINDS = {"topic": 2, "group": 3, "transactional id": 5}
_OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8, "DescribeConfigs": 10}


class Grant:
    """Operations on a resource, in the words of the documentation.

    Args:
        resource: kind and name, such as ``"topic orders"``; with a star at the end all whose names begin like that.
        operations: names of operations, separated by commas.
    """

    def __init__(self, resource: str, operations: str) -> None:
        kind, _, name = resource.rpartition(" ")
        self.kind = _KINDS[kind]
        self.name = name.rstrip("*")
        self.pattern = 4 if name.endswith("*") else 3
        self.operations = [_OPERATIONS[operation] for operation in operations.split(", ")]


@dataclass
class Secured:
    """The broker, the ports of its listeners, and the authority that signed its certificates.

    Listeners: ``PASSWORDS`` (PLAIN and SCRAM without TLS), ``TOKENS`` (OAUTHBEARER), ``BRIEF`` (the same, a log-in lasts 1.5 s), ``TLS``,
    ``ELSEWHERE`` (its certificate has another host name), ``MUTUAL`` (it wants a certificate of the client), ``SAFE`` (SCRAM over TLS).
    """

    broker: Broker
    ports: dict[str, int]
    authority: trustme.CA

    @classmethod
    def make(cls, directory: Path) -> Secured:
        """Make one that is not started yet; its keys are in ``directory``."""
        authority = trustme.CA()
        ports = {name: free_port() for name in _PROTOCOLS}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **_PROTOCOLS}
        properties = {
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            **_log_ins(),
        }
        for name, host in (("TLS", HOST), ("SAFE", HOST), ("MUTUAL", HOST), ("ELSEWHERE", "kafka.example")):
            properties |= _tls(name, authority, host, directory)
        properties["listener.name.mutual.ssl.client.auth"] = "required"
        properties["listener.name.mutual.ssl.principal.mapping.rules"] = f"RULE:^.*$/{USER}/"
        broker = Broker(
            port=0, heap="256m", properties=properties, listeners=ports, users={USER: PASSWORD, OTHER: PASSWORD}
        )
        return cls(broker, ports, authority)

    def address(self, listener: str) -> str:
        """The address of a listener, ``host:port``."""
        return f"{HOST}:{self.ports[listener]}"

    async def grant(self, *grants: Grant) -> None:
        """Let the user ``OTHER`` do something."""
        client = Client(KafkaSettings(servers=(self.broker.address,)))
        await client.connect()
        try:
            for grant in grants:
                for operation in grant.operations:
                    rule = (grant.kind, grant.name, grant.pattern, f"User:{OTHER}", "*", operation, _ALLOW)
                    answer = await client.send(client.any_node(), CreateAclsRequest(*rule))
                    assert all(code == 0 for code, _ in answer.creation_responses), answer
            question = DescribeAclsRequest(grants[-1].kind, grants[-1].name, grants[-1].pattern, None, None, _ANY, _ANY)
            async with asyncio.timeout(30):  # brokers learn of it a moment later
                while not (await client.send(client.any_node(), question)).resources:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            await client.disconnect()

    def context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A context that trusts the authority, and has a certificate for this client on request."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate:
            self.authority.issue_cert("client.example").configure_cert(context)
        return context


def _log_ins() -> dict[str, str]:
    users = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, OTHER))
    plain = f"{_MODULES}.plain.PlainLoginModule required {users};"
    scram = f"{_MODULES}.scram.ScramLoginModule required;"
    bearer = f'{_MODULES}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{USER};User:ANONYMOUS",
        "listener.name.passwords.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.passwords.plain.sasl.jaas.config": plain,
        "listener.name.passwords.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.passwords.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.safe.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.safe.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.tokens.oauthbearer.sasl.jaas.config": bearer,
        "listener.name.brief.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.brief.oauthbearer.sasl.jaas.config": bearer,
        "listener.name.brief.connections.max.reauth.ms": "1500",
    }


def _tls(listener: str, authority: trustme.CA, host: str, directory: Path) -> dict[str, str]:
    issued = authority.issue_cert(host)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    store = directory / f"{listener}.pem"
    store.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )  # Java reads no other format
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    trusted = directory / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    prefix = f"listener.name.{listener.lower()}.ssl"
    return {
        f"{prefix}.keystore.type": "PEM",
        f"{prefix}.keystore.location": str(store),
        f"{prefix}.truststore.type": "PEM",
        f"{prefix}.truststore.location": str(trusted),
    }


def token(subject: str = USER, seconds: float = 3600.0) -> str:
    """A token without signature, which the broker takes because nobody told it otherwise."""
    now = time.time()

    def part(claims: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now - 60, 'exp': now + seconds})}."
