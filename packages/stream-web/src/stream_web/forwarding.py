"""Passes requests on to the worker that owns what they ask for."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from stream_web.exceptions import ServiceUnavailable

__all__ = ["AGAIN", "ANSWERED", "FORWARDED", "Forwarder"]

logger = logging.getLogger(__name__)

FORWARDED = "X-Stream-Forwarded-By"
"""The header of a request that another worker has passed on; it has the instance of that worker, and is passed on no further."""

ANSWERED = "X-Stream-Answered-By"
"""The header of the answer to such a request: the instance of the worker that has answered it."""

AGAIN = {"Retry-After": "1"}
"""Tells a client to come back."""

DEADLINE = 10.0
"""Seconds for the other worker to answer."""

CONNECT = 2.0
"""Seconds to reach it."""

LARGEST = 64 * 1024 * 1024
"""Bytes of the largest answer that is passed on."""

_OWN = (
    *(hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.PROXY_AUTHENTICATE, hdrs.PROXY_AUTHORIZATION, hdrs.TE, hdrs.TRAILER),
    *(hdrs.TRANSFER_ENCODING, hdrs.UPGRADE, hdrs.HOST, hdrs.CONTENT_LENGTH, hdrs.SERVER, hdrs.DATE, hdrs.EXPECT),
)
"""Headers that belong to one connection: each connection has its own."""


class Forwarder:
    """Asks other workers, in the place of a client.

    Args:
        instance: id of this worker.
        deadline: seconds for another worker to answer.

    Attributes:
        instance: the same.
    """

    def __init__(self, instance: str, *, deadline: float = DEADLINE) -> None:
        self.instance = instance
        self._deadline = deadline
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client, made when it is first used."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._deadline, sock_connect=CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def forward(
        self, request: web.Request, url: str, instance: str = "", *, certain: bool = False
    ) -> web.Response:
        """Pass a request on, as it is, and give the answer.

        Args:
            request: the request.
            url: where the other worker is reached.
            instance: its id: what another one answers does not count.
            certain: an answer counts only if it says who gave it: something else may listen at the URL.

        Raises:
            ServiceUnavailable: it cannot be reached, breaks off, does not answer in time, or is another one.
        """
        headers = request.headers.copy()
        for name in _OWN:
            headers.popall(name, None)
        headers.popall(hdrs.CONTENT_ENCODING, None)  # what read() gives is unpacked
        headers[FORWARDED] = self.instance
        body = await request.read()
        try:
            async with self.session.request(
                request.method,
                URL(f"{url.rstrip('/')}{request.rel_url.raw_path_qs}", encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE),
            ) as answer:
                who = answer.headers.get(ANSWERED, "" if certain else instance)
                if who != instance:
                    raise ValueError(f"worker {who or 'unknown'} answers in place of {instance}")
                return await _copied(answer)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.warning(
                "the worker at %s has not answered %s %s: %r", _shown(url), request.method, request.path, error
            )
            raise ServiceUnavailable("The worker that has this does not answer; try again", headers=AGAIN) from error

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


async def _copied(answer: aiohttp.ClientResponse) -> web.Response:
    """Give the answer of another worker as one of this one."""
    parts, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > LARGEST:
            raise ValueError(f"its answer has more than {LARGEST} bytes")
        parts.append(chunk)
    headers = answer.headers.copy()
    headers.popall(ANSWERED, None)
    for name in _OWN:
        headers.popall(name, None)
    return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=b"".join(parts))


def _shown(url: str) -> str:
    """Show a URL in the log, without credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"
