"""Posts to one receiver, over the one dialer: a refused address is refused here too, and no redirect is followed. What
a receiver of messages answers beyond its status is not read; a witness's answer is, up to a limit.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
from yarl import URL

from gateway.errors import Refused
from gateway.reasons import Reason
from gateway.settings import SettingsError
from hand_adapters.dialer import Dialer, Disconnected, is_literal, permitted, session
from hand_adapters.http_answer import retry_after


class HttpCourier:
    """``ports.Courier`` and ``ports.Peer`` over a session of its own, for the life of the receiver."""

    def __init__(self, *, private_network: bool) -> None:
        self._private_network = private_network
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> tuple[int, float | None]:
        """See ``ports.Courier``."""
        async with self._exchange(url, headers, body, timeout_seconds) as response:
            response.close()  # its body is the receiver's to choose, and nobody's to read
        said = response.headers.get("Retry-After")
        return response.status, None if said is None else retry_after(said, time.time())

    async def ask(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, str, bytes]:
        """See ``ports.Peer``."""
        async with self._exchange(url, headers, body, timeout_seconds) as response:
            answer = b""
            while chunk := await response.content.read(answer_max_bytes + 1 - len(answer)):
                answer += chunk
                if len(answer) > answer_max_bytes:
                    response.close()
                    raise Refused(Reason.HAND_RESULT_TOO_LARGE, f"its answer is over {answer_max_bytes} bytes")
            response.release()
        return response.status, response.headers.get("content-type", "").partition(";")[0].strip().lower(), answer

    @contextlib.asynccontextmanager
    async def _exchange(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One POST, and the time to read what comes back; every failure is ``hand.timeout`` or ``hand.unavailable``."""
        if self._session is None:
            self._session = session(Dialer(private_network=self._private_network, limit=1))
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._session.post(url, data=body, headers=dict(headers), allow_redirects=False)
                try:
                    yield response
                finally:
                    response.close()
        except TimeoutError:
            raise Refused(Reason.HAND_TIMEOUT, "no answer in time") from None
        except (aiohttp.ClientError, OSError, Disconnected, ValueError) as exc:
            raise Refused(Reason.HAND_UNAVAILABLE, type(exc).__name__) from None

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def courier(where: str, url: str, private_network: bool) -> HttpCourier:  # noqa: FBT001 - a factory's shape
    """A courier for ``url``.

    Raises:
        SettingsError: the URL has credentials in it, or names an address that would be refused.
    """
    try:
        parsed = URL(url)
        host = parsed.host
    except ValueError:
        raise SettingsError(f"{where}: not a URL") from None
    if not host or parsed.user is not None or parsed.password is not None or parsed.fragment:
        raise SettingsError(f"{where}: a URL without credentials and fragment is needed")
    if is_literal(host) and not permitted(host, private_network=private_network):
        raise SettingsError(f"{where}: the gateway does not dial that address")
    return HttpCourier(private_network=private_network)
