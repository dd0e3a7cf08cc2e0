"""The gate of one jail: its listeners, its authority, and the step that runs in it now."""

import asyncio
import contextlib
import contextvars
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from gateway.calls import HandCall
from gateway.errors import HandrailError
from gateway.ports import HandFailure
from gateway.reach import EgressRule
from gateway.settings import HandSettings
from hand_adapters import reach
from hand_adapters.contract import HandError
from hand_adapters.egress.authority import JailAuthority
from hand_adapters.egress.causes import Cause, Denied
from hand_adapters.egress.channel import Channel
from hand_adapters.egress.conversation import Refused, converse, refuse
from hand_adapters.egress.limits import Bucket
from hand_adapters.egress.rules import Rules
from hand_adapters.egress.step import Step
from hand_adapters.jail import Bind

_log = structlog.get_logger("handrail.egress")

PORT: Final = 3128
NAME: Final = "handrail-egress"
BUNDLE: Final = "/run/handrail/egress.pem"
"""Where the jail finds the authorities that it believes."""
_ADDRESS: Final = f"http://127.0.0.1:{PORT}"
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_BUNDLE_VARIABLES: Final = (
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("GIT_SSL_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE"),
)
ENVIRONMENT: Final[Mapping[str, str]] = {
    **dict.fromkeys(_PROXY_VARIABLES, _ADDRESS),
    **dict.fromkeys(_BUNDLE_VARIABLES, BUNDLE),
    "NODE_USE_ENV_PROXY": "1",
    "HANDRAIL_EGRESS": f"unix-abstract:{NAME}",
}
"""What common clients read: curl, Python's and Node's, git, pip."""
_SYSTEM_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_BUSY_SECONDS: Final = 0.1
_REFUSING: Final = 8
"""Connections beside those that a jail may hold: they are told so. Further ones wait in the listeners, where they take
nothing of this process."""
_ACCEPTED_PER_SECOND: Final = 100.0
"""After four times as many at once. A handshake takes this process time, and none of a step's requests."""


def gate(hand_id: str, settings: HandSettings) -> "EgressGate | None":
    """A gate for one jail of a hand; ``None`` where the hand names nothing that its jail may reach."""
    return EgressGate(hand_id, settings) if settings.egress else None


@contextlib.asynccontextmanager
async def serving(way_out: "EgressGate | None", call: HandCall) -> AsyncIterator[None]:
    """Let the jail reach what ``call`` lets it reach, in this block alone. Leaving it ends every connection.

    Raises:
        HandError: ``log.unavailable``, unknown: what the jail sent could not be put on record.
    """
    if way_out is None:
        yield
        return
    way_out.begin(call)
    try:
        yield
    except BaseException:
        with contextlib.suppress(HandrailError):
            await way_out.end()
        raise
    try:
        await way_out.end()
    except HandrailError as error:
        raise HandError(error.reason, HandFailure.UNKNOWN, error.detail) from None


class EgressGate:
    """``jail.Gate``. Serves one jail, and one step of it at a time. Belongs to one event loop."""

    port = PORT
    name = NAME
    env: Mapping[str, str] = ENVIRONMENT

    def __init__(self, hand_id: str, settings: HandSettings) -> None:
        rules = reach.egress_rules(hand_id, settings)
        self._hand = hand_id
        self._rules = Rules(rules)
        self._limits = settings.egress_limits
        self._authorities = _authorities(rules, settings)
        self._named = bool(settings.secrets)
        self._authority = JailAuthority(self._rules.seen)
        self._directory = Path(tempfile.mkdtemp(prefix="handrail-egress-"))
        bundle = self._directory / "egress.pem"
        bundle.write_bytes(self._authority.pem + (_system_authorities() if self._rules.has_blind else b""))
        bundle.chmod(0o444)
        self.binds: Sequence[Bind] = (Bind(bundle, BUNDLE),)
        self._listeners: Sequence[socket.socket] = ()
        self._accepting: list[asyncio.Task[None]] = []
        self._step: Step | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._between = 0
        self._closed = False
        self._room = asyncio.Semaphore(self._limits.connections + _REFUSING)
        per_second = max(_ACCEPTED_PER_SECOND, settings.egress_limits.requests_per_second)
        self._pace = Bucket(4 * per_second, per_second, time.monotonic)

    # --- for Jail ----------------------------------------------------------------------------------------------------

    def open(self, listeners: Sequence[socket.socket]) -> None:
        """See ``jail.Gate``."""
        if self._closed:
            for listener in listeners:
                listener.close()
            return
        self._listeners = listeners
        loop = asyncio.get_running_loop()
        self._accepting = [
            loop.create_task(self._accept(listener), context=contextvars.Context()) for listener in listeners
        ]

    def close(self) -> None:
        """See ``jail.Gate``."""
        if self._closed:
            return
        self._closed = True
        for task in (*self._accepting, *self._connections):
            task.cancel()
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- for serving() -----------------------------------------------------------------------------------------------

    def begin(self, call: HandCall) -> None:
        """From now on what the jail asks for is asked for by ``call``."""
        if self._step is not None:
            raise RuntimeError("a jail runs one step at a time")
        self._step = Step(call, self._rules, self._limits, self._authorities, named=self._named)
        self._step.ledger.between(self._between)
        self._between = 0

    async def end(self) -> None:
        """Nothing is let through any more. Raises ``log.unavailable``."""
        step, self._step = self._step, None
        ending = list(self._connections)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.gather(*ending, return_exceptions=True)
        if step is not None:
            await step.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._pace.take():
                await asyncio.sleep(_BUSY_SECONDS)
                continue
            await self._room.acquire()
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as exc:
                self._room.release()
                if self._closed:
                    return
                _log.warning(
                    "a jail's connection could not be taken", hand=self._hand, error=os.strerror(exc.errno or 0)
                )
                await asyncio.sleep(_BUSY_SECONDS)  # no descriptor left, say: it waits in the listener
                continue
            task = loop.create_task(self._serve(connection, self._step))
            self._connections.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._room.release()

    async def _serve(self, connection: socket.socket, step: Step | None) -> None:
        connection.setblocking(False)
        if connection.family == socket.AF_INET:
            # Answers go in pieces; asyncio does this by itself only where a socket names its protocol.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except OSError:
            connection.close()
            return
        channel = Channel(reader, writer)
        try:
            if step is None:
                self._between += 1
                await refuse(channel, Denied(Cause.BETWEEN_STEPS))
            elif len(self._connections) > self._limits.connections:
                await step.ledger.refused(Denied(Cause.CONNECTIONS))
                await refuse(channel, Denied(Cause.CONNECTIONS))
            else:
                await converse(step, channel, self._authority)
            await channel.finish()
        except Refused as refused:
            if step is not None:
                await step.ledger.refused(refused.denied)
        except OSError:
            return  # the jail has gone, or was left
        except Exception:  # noqa: BLE001 - what a jail sends must not end the proxy, nor pass by unseen
            _log.exception("a jail's connection failed", hand=self._hand)
        finally:
            channel.close()


def _authorities(rules: Sequence[EgressRule], settings: HandSettings) -> dict[EgressRule, Path]:
    """The files of authorities that the settings name, by the rules that they are for."""
    named: dict[tuple[str, str, int], Path] = {}
    for one in settings.egress:
        if one.ca_file is not None:
            named[one.scheme, one.host, one.port or (443 if one.scheme == "https" else 80)] = one.ca_file
    of_rules = {rule: (rule.scheme, rule.host, rule.port) for rule in rules}
    return {rule: named[where] for rule, where in of_rules.items() if where in named}


def _system_authorities() -> bytes:
    try:
        return Path(_SYSTEM_BUNDLE).read_bytes()
    except OSError:
        return b""
