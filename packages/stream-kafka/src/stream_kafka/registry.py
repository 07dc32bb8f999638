"""A schema registry that is asked over HTTP, by the API of Confluent's, which Apicurio, Karapace and Redpanda answer too."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from stream_core.errors import (
    AuthenticationError,
    ConfigurationError,
    MissingPackageError,
    RegistryError,
    RegistryUnavailableError,
    SchemaRefusedError,
    UnknownSchemaError,
)
from stream_core.ports import RegisteredSchema, SchemaReference, SchemaText

try:
    import aiohttp
except ImportError as error:
    raise MissingPackageError(
        f"a schema registry is asked over HTTP, and {error}; pip install 'stream-kafka[schema-registry]'"
    ) from error

__all__ = ["HttpRegistry"]

T = TypeVar("T")

CONTENT = "application/vnd.schemaregistry.v1+json"

SHORTEST, LONGEST = 0.1, 2.0
"""Seconds between two attempts."""

ATTEMPT = 10.0
"""Seconds for one attempt, where the deadline is longer."""

UNKNOWN = (40401, 40402, 40403)
"""Error codes by which a registry says that it has no such subject, version or schema. Any other 404 is of something else."""

SHOWN = 200
"""Characters of an answer that an error shows."""


class _Reference(msgspec.Struct, frozen=True):
    name: str
    subject: str
    version: int


class _Schema(msgspec.Struct, frozen=True):
    """A schema in an answer, or what is asked with: the kind is left out for Avro."""

    schema: str
    schemaType: str = "AVRO"  # noqa: N815 - the name on the wire
    references: list[_Reference] = []

    @property
    def as_text(self) -> SchemaText:
        return SchemaText(
            self.schemaType,
            self.schema,
            tuple(SchemaReference(one.name, one.subject, one.version) for one in self.references),
        )


class _Version(_Schema, frozen=True, kw_only=True):
    id: int
    version: int


class _Id(msgspec.Struct, frozen=True):
    id: int


class _Error(msgspec.Struct, frozen=True):
    error_code: int = 0
    message: str = ""


class HttpRegistry:
    """The :class:`~stream_core.ports.SchemaRegistry` of ``http://`` and ``https://``.

    Each call has a connection of its own, because calls are few: one for each schema, not for each record.

    Args:
        url: where the API begins, such as ``http://localhost:8081``; several are separated by commas, and tried in turn.
        credentials: ``user:password``; unless given those in the URL.
        ssl_context: for ``https://``.
        deadline: seconds for one call with all its attempts.

    Raises:
        ConfigurationError: that is no URL.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        deadline: float = 40.0,
    ) -> None:
        self._urls: list[str] = []
        for one in url.split(","):
            parts = urlsplit(one.strip())
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigurationError(
                    "this is no URL of a schema registry: write http://host:port, or https://host:port/path"
                )
            if credentials is None and parts.username is not None:
                credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            netloc = parts.netloc.rpartition("@")[2]
            self._urls.append(urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", "")))
        self._headers = {"Accept": CONTENT}
        if credentials:
            self._headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        self._ssl = True if ssl_context is None else ssl_context
        self._deadline = deadline

    async def schema(self, id_: int) -> SchemaText:
        """Return the schema of that id. Raises UnknownSchemaError."""
        return (await self._ask("GET", f"/schemas/ids/{id_}", _Schema, f"schema id {id_}")).as_text

    async def register(self, subject: str, schema: SchemaText) -> int:
        """Add a schema to a subject, and return its id. Raises SchemaRefusedError."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        return (await self._ask("POST", path, _Id, f"subject {subject}", _asked(schema))).id

    async def find(self, subject: str, schema: SchemaText) -> int:
        """Return the id of a schema that a subject has. Raises UnknownSchemaError."""
        path = f"/subjects/{quote(subject, safe='')}"
        return (await self._ask("POST", path, _Id, f"the schema in subject {subject}", _asked(schema))).id

    async def version(self, subject: str, version: int | None) -> RegisteredSchema:
        """Return a version of a subject; ``None`` for the latest. Raises UnknownSchemaError."""
        number = "latest" if version is None else str(version)
        path = f"/subjects/{quote(subject, safe='')}/versions/{number}"
        found = await self._ask("GET", path, _Version, f"version {number} of subject {subject}")
        return RegisteredSchema(found.id, found.version, found.as_text)

    async def _ask(self, method: str, path: str, type_: type[T], what: str, body: Mapping[str, Any] | None = None) -> T:
        """Ask until there is an answer, or the deadline is over.

        Args:
            method: of the request.
            path: behind the URL of the API.
            type_: what the answer is.
            what: what is asked for or changed, for messages.
            body: of the request.
        """
        loop = asyncio.get_running_loop()
        end, delay, attempt = loop.time() + self._deadline, SHORTEST, 0
        limits = aiohttp.ClientTimeout(total=min(ATTEMPT, self._deadline))
        async with aiohttp.ClientSession(
            timeout=limits, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while True:
                url = self._urls[attempt % len(self._urls)]
                attempt += 1
                try:
                    async with (
                        asyncio.timeout_at(end),
                        session.request(method, url + path, json=body, ssl=self._ssl, allow_redirects=False) as answer,
                    ):
                        data = await answer.read()
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    trouble = "no answer in time" if isinstance(error, TimeoutError) else str(error)
                else:
                    if (
                        answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
                        and answer.status != HTTPStatus.TOO_MANY_REQUESTS
                    ):
                        return _read(answer.status, data, type_, what, url)
                    trouble = f"it answers {answer.status} {_message(data)}"
                if loop.time() + delay >= end:
                    raise RegistryUnavailableError(
                        f"the schema registry {url} cannot be asked for {what}, within {self._deadline:g} s: {trouble}; "
                        "check schema_registry_url, and that it runs"
                    )
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST)


def _read(status: int, data: bytes, type_: type[T], what: str, url: str) -> T:
    """Return what an answer has. Raises the error that it says."""
    if status == HTTPStatus.OK:
        try:
            return msgspec.json.decode(data, type=type_)
        except msgspec.MsgspecError as error:
            raise RegistryError(
                f"{url} answers for {what} what no schema registry does, {data[:SHOWN]!r}: {error}; check schema_registry_url"
            ) from error
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise AuthenticationError(
            f"the schema registry {url} refuses the credentials for {what}: {_message(data)}; check schema_registry_credentials"
        )
    error_code = _error(data).error_code
    if status == HTTPStatus.NOT_FOUND and error_code in UNKNOWN:
        raise UnknownSchemaError(f"the schema registry {url} does not have {what}: {_message(data)}")
    if status in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
        raise SchemaRefusedError(f"the schema registry {url} refuses {what}: {_message(data)}")
    raise RegistryError(
        f"{url} answers {status} for {what}: {_message(data)}; check schema_registry_url: it is the URL at which the API of a schema "
        "registry begins"
    )


def _error(data: bytes) -> _Error:
    try:
        return msgspec.json.decode(data, type=_Error)
    except msgspec.MsgspecError:
        return _Error()


def _message(data: bytes) -> str:
    return (_error(data).message or data.decode(errors="replace"))[:SHOWN].strip()


def _asked(schema: SchemaText) -> dict[str, Any]:
    asked: dict[str, Any] = {"schema": schema.text}
    if schema.kind != "AVRO":
        asked["schemaType"] = schema.kind
    if schema.references:
        asked["references"] = [one._asdict() for one in schema.references]
    return asked
