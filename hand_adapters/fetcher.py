"""Asks for small documents over the one dialer: a refused address is refused here too, and no redirect is followed."""

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import aiohttp

from gateway.errors import Unavailable
from gateway.reasons import Reason
from gateway.settings import SettingsError
from hand_adapters.dialer import Dialer, Disconnected, session


class HttpFetcher:
    """Reads documents of one party, over a session of its own for its life. Belongs to one event loop."""

    def __init__(
        self, where: str, *, private_network: bool, ca_file: Path | None, reason: Reason = Reason.AUTH_UNAVAILABLE
    ) -> None:
        """Connect to nothing yet.

        Args:
            where: the setting that this serves, for messages.
            ca_file: the only authorities whose certificates are believed; ``None`` for the system's.
            reason: why a request is refused that gets no answer.

        Raises:
            SettingsError: the file of authorities cannot be used.
        """
        self._private_network = private_network
        self._reason = reason
        self._session: aiohttp.ClientSession | None = None
        try:
            self._tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as exc:
            raise SettingsError(f"{where}.ca_file: {exc.strerror or 'no certificates in PEM'}") from None

    async def get(self, url: str, *, timeout_seconds: float, answer_max_bytes: int) -> bytes:
        """The body of a 200 answer.

        Raises:
            Unavailable: no such answer in time, or one that is longer.
        """
        status, answer = await self.ask(url, {}, timeout_seconds=timeout_seconds, answer_max_bytes=answer_max_bytes)
        if status != HTTPStatus.OK:
            raise Unavailable(self._reason, f"{url} answers {status}")
        return answer

    async def ask(
        self, url: str, headers: Mapping[str, str], *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a GET.

        Raises:
            Unavailable: no answer in time, or one that is longer.
        """
        return await self._ask("GET", url, None, headers, timeout_seconds, answer_max_bytes)

    async def post(
        self, url: str, form: str, headers: Mapping[str, str], *, timeout_seconds: float, answer_max_bytes: int
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a form (``application/x-www-form-urlencoded``).

        Raises:
            Unavailable: no answer in time, or one that is longer.
        """
        sent = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", url, form.encode("ascii"), sent, timeout_seconds, answer_max_bytes)

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_seconds: float,
        answer_max_bytes: int,
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = session(Dialer(private_network=self._private_network, limit=2))
        sent = {**headers, "Accept": "application/json"}
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.request(
                    method, url, data=body, headers=sent, allow_redirects=False, ssl=self._tls
                ) as response,
            ):
                answer = await response.content.read(answer_max_bytes + 1)
                while len(answer) <= answer_max_bytes and (chunk := await response.content.read(answer_max_bytes)):
                    answer += chunk
                if len(answer) > answer_max_bytes:
                    response.close()
                    raise Unavailable(self._reason, f"{url} answers more than {answer_max_bytes} bytes")
                return response.status, answer
        except TimeoutError:
            raise Unavailable(self._reason, f"{url} did not answer in time") from None
        except (aiohttp.ClientError, OSError, Disconnected, ValueError) as exc:
            raise Unavailable(self._reason, f"{url}: {type(exc).__name__}") from None

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None
