"""The sessions API of Anthropic, as the connector asks it, on the ``anthropic`` SDK.

Documents come as the service sends them, not as the SDK's models: those are built without a look at the values. Nothing
is retried here: whether a request may have arrived decides what may be done next, and only the caller knows that.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import anthropic
import httpx2
from anthropic import AsyncAnthropic

from gateway.errors import HandrailError
from gateway.managed_agents.service import LISTED_MAX, NO_HEARTBEAT, ServiceError
from gateway.reasons import Reason

PAGE: Final = 500
POLL_MILLISECONDS: Final = 999
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_NEVER_SENT: Final = "set by the gateway's transport"


@dataclass(slots=True)
class SessionsApi:
    """One workspace.

    Attributes:
        client: retries nothing; its transport adds the credential.
        quiet_seconds: after which a stream without a word counts as broken.
    """

    client: AsyncAnthropic
    quiet_seconds: float

    @classmethod
    def open(cls, url: str, transport: httpx2.AsyncBaseTransport, *, timeout: float, quiet: float) -> "SessionsApi":
        """The API at ``url``; nothing is asked yet.

        Args:
            timeout: seconds for an answer.
            quiet: see :attr:`quiet_seconds`.
        """
        http = httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
        client = AsyncAnthropic(api_key=_NEVER_SENT, base_url=url, http_client=http, max_retries=0, timeout=timeout)
        return cls(client, quiet)

    @asynccontextmanager
    async def stream(self, session_id: str) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        """The events of a session from now on. Raises ``ServiceError``, also while they are read."""
        events = self.client.beta.sessions.events
        timeout = httpx2.Timeout(self.quiet_seconds)
        try:
            opened = await events.stream(session_id, timeout=timeout)
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

        async def documents() -> AsyncIterator[Mapping[str, Any]]:
            try:
                async for event in opened:
                    yield _document(event)
            except HandrailError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever the SDK's decoder says of a stream that is none
                raise _translated(exc) from None

        try:
            yield documents()
        finally:
            await opened.close()

    async def events(self, session_id: str, since: str = "") -> Sequence[Mapping[str, Any]]:
        """The events of a session from a moment on, oldest first. Raises ``ServiceError``."""
        asked: dict[str, Any] = {"limit": PAGE, "order": "asc"}
        if since:
            asked["created_at_gte"] = since
        return await self._all(self.client.beta.sessions.events.list(session_id, **asked), LISTED_MAX)

    async def send(self, session_id: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Send events to a session. Raises ``ServiceError``; ``arrived`` says whether it may have them."""
        try:
            await self.client.beta.sessions.events.send(session_id, events=cast("Any", list(events)))
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def session(self, session_id: str) -> Mapping[str, Any]:
        """A session as it is. Raises ``ServiceError``."""
        try:
            return _document(await self.client.beta.sessions.retrieve(session_id))
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def sessions(self, agent_id: str, most: int) -> Sequence[Mapping[str, Any]]:
        """An agent's sessions that have not ended, newest first. Raises ``ServiceError``."""
        wanted = self.client.beta.sessions.list(agent_id=agent_id, statuses=["idle", "running", "rescheduling"])
        return await self._all(wanted, most)

    async def agent(self, agent_id: str) -> Mapping[str, Any]:
        """An agent as it is. Raises ``ServiceError``."""
        try:
            return _document(await self.client.beta.agents.retrieve(agent_id))
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def set_tools(self, agent_id: str, version: int, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Give an agent other tools, unless it is not that version any more. Raises ``ServiceError``."""
        try:
            changed = await self.client.beta.agents.update(agent_id, version=version, tools=cast("Any", list(tools)))
            return _document(changed)
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def next_work(self, environment_id: str, worker_id: str) -> Mapping[str, Any] | None:
        """Work of a self-hosted environment that is this worker's from now on; ``None`` where none waits. Raises
        ``ServiceError``."""
        work = self.client.beta.environments.work
        try:
            found = await work.poll(environment_id, block_ms=POLL_MILLISECONDS, anthropic_worker_id=worker_id)
            if found is None:
                return None
            await work.ack(found.id, environment_id=environment_id)
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None
        return _document(found)

    async def heartbeat(self, environment_id: str, work_id: str, last: str) -> Mapping[str, Any]:
        """Keep work; ``last`` is what the heartbeat before was answered, :data:`NO_HEARTBEAT` at first. Raises
        ``ServiceError``, of status 412 where somebody else has the work."""
        work = self.client.beta.environments.work
        try:
            return _document(await work.heartbeat(work_id, environment_id=environment_id, expected_last_heartbeat=last))
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def latest_heartbeat(self, environment_id: str, work_id: str) -> str:
        """What the service has as the last heartbeat of some work; :data:`NO_HEARTBEAT` where it has none. Raises
        ``ServiceError``."""
        try:
            work = _document(await self.client.beta.environments.work.retrieve(work_id, environment_id=environment_id))
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None
        return str(work.get("latest_heartbeat_at") or NO_HEARTBEAT)

    async def stop_work(self, environment_id: str, work_id: str) -> None:
        """Give work back that is done, or that nobody here goes on with. Raises ``ServiceError``."""
        try:
            await self.client.beta.environments.work.stop(work_id, environment_id=environment_id, force=True)
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None

    async def close(self) -> None:
        """Close every connection."""
        await self.client.close()

    async def _all(self, pages: Any, most: int) -> Sequence[Mapping[str, Any]]:
        found = []
        try:
            async for one in pages:
                found.append(_document(one))
                if len(found) >= most:
                    break
        except Exception as exc:  # noqa: BLE001
            raise _translated(exc) from None
        return found


def _document(model: Any) -> Mapping[str, Any]:
    """What the service sent, with moments as such; nothing where it is no object. Not by way of JSON text: what has no
    such form must be denied alone, and not end the reading."""
    if isinstance(model, anthropic.BaseModel):
        return model.to_dict(mode="python", warnings=False)
    return model if isinstance(model, Mapping) else {}


def _translated(exc: Exception) -> HandrailError:
    """Whether it arrived, and whether it is worth another try."""
    if isinstance(exc, HandrailError):
        return exc
    if isinstance(exc, anthropic.APIStatusError):
        status = exc.status_code
        after = _seconds(exc.response.headers.get("retry-after"))
        said_no = 400 <= status < 500
        reason = Reason.AGENTS_REFUSED if said_no and status not in _LATER else Reason.AGENTS_UNAVAILABLE
        detail = f"the service answers {status}"
        arrived = not said_no or status == HTTPStatus.REQUEST_TIMEOUT
        return ServiceError(reason, detail, status=status, arrived=arrived, retry_after_seconds=after)
    cause = exc.__cause__
    if isinstance(cause, HandrailError):
        return cause
    unsent = isinstance(exc, anthropic.APIConnectionError) and isinstance(cause, httpx2.ConnectError)
    detail = type(cause or exc).__name__
    return ServiceError(Reason.AGENTS_UNAVAILABLE, detail, status=None, arrived=not unsent)


def _seconds(text: str | None) -> float:
    try:
        return min(max(float(text or 0), 0.0), 300.0)
    except ValueError:
        return 0.0
