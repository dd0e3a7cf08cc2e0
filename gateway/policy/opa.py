"""The OPA engine: a real OPA server that holds the gateway's bundle, asked with strict builtin errors.

The bundle goes up together with one module of our own, ``handrail_bundle``, which states the bundle's digest. Every
answer carries that digest, evaluated in the same query as the decisions: an OPA that was restarted, or filled with
another bundle, gives another digest or none, the plan is denied and the bundle goes up again.

The bundle's data goes up as rules (``literals``), never as documents: OPA refuses a document where a rule stands, so
the data API cannot change a datum of the bundle. What an answer cannot show is looked for at every reload interval and
undone: a single module that was changed, a policy of others in the bundle's packages, documents beside the bundle's
data. Whoever may write to the server can therefore be believed for one interval, no longer. The server must be the
gateway's alone, or guarded by OPA's own authorization.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import orjson
import structlog
from opa_client import errors as opa_errors

from gateway.model import Decision
from gateway.policy import literals
from gateway.policy.breaker import Breaker, Circuit
from gateway.policy.bundle import ROOT, Bundle
from gateway.policy.decisions import decide, deny_all
from gateway.policy.faults import BundleError, EngineUnavailable, EvaluationFailed, PolicyFault, Problem
from gateway.policy.gate import Gate
from gateway.policy.hidden import hidden_of
from gateway.policy.inspection import self_test
from gateway.policy.opa_client import OpaClient
from gateway.policy.request import allowed_seconds, encode, steps_of
from gateway.reasons import Reason

STAMP: Final = "handrail_bundle"
"""Package of the module that states the digest. It is outside of what a bundle may fill, as the next one is."""
MENU: Final = "handrail_menu"
"""Package of the module that states what a menu may not show: apart, for a question evaluates a whole package."""
PREFIX: Final = "handrail/"
"""Policy ids of ours in the server."""
PUSH_SECONDS: Final = 10.0
RETRY_PAUSES_SECONDS: Final = (0.01, 0.04)
"""Before a question that got no answer is asked again. All tries are under the one deadline of the decision."""


class Holder(StrEnum):
    """Whose bundle a server holds. A bundle fills a server, so the active one and a candidate need one each."""

    ACTIVE = "active"
    CANDIDATE = "candidate"


_STRICT: Final = {"strict-builtin-errors": "true"}
_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses that say: not now."""
_UNREACHABLE: Final = (aiohttp.ClientError, OSError, ValueError, opa_errors.ConnectionsError)
_log = structlog.get_logger(__name__)


class OpaEngine:
    """``ports.PolicyEngine`` over an OPA server.

    Args:
        url: scheme, host and port of the server.
        token: bearer token, where the server wants one.
        deadline_seconds: for a whole question: waiting, connecting and every retry included.
        input_max_bytes: largest input that is sent.
        tls: for an ``https`` server; default: the system's authorities.
        holder: whose bundle this is. A candidate never takes the place of an active bundle.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        deadline_seconds: float,
        input_max_bytes: int,
        tls: ssl.SSLContext | None = None,
        holder: Holder = Holder.ACTIVE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = OpaClient(url, token, tls, PUSH_SECONDS)
        self._breaker = Breaker()
        self._clock = clock
        self._holder = holder
        self._deadline_seconds = deadline_seconds
        self._input_max_bytes = input_max_bytes
        self._bundle: Bundle | None = None
        self._connected = False
        self._doubted = False
        self._gate = Gate()

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the active bundle; empty before the first."""
        return self._bundle.digest if self._bundle is not None else ""

    async def activate(self, bundle: Bundle, record: Callable[[], Awaitable[None]]) -> None:
        """Decide by ``bundle`` from now on. Questions wait at a gate while the server changes over.

        Args:
            bundle: a bundle that was inspected.
            record: awaited when everything but the switch is done; where it raises, the old bundle is put back.

        Raises:
            BundleError: OPA refuses the bundle, or its self-test failed. The old bundle is put back.
            EngineUnavailable: the server cannot be reached. The old bundle is put back as soon as it can be.
        """
        async with self._gate.closed():
            await self._connect()
            try:
                await self._push(bundle)
                await self_test(lambda raw: self._ask(raw, bundle.digest), bundle.digest)
                await record()
            except BaseException:
                self._doubted = True
                if self._bundle is not None:
                    await self._restore(self._bundle)
                raise
            self._bundle = bundle
            self._doubted = False

    async def decide(self, policy_input: Mapping[str, Any]) -> Mapping[str, Decision]:
        """See ``ports.PolicyEngine.decide``."""
        steps = steps_of(policy_input)
        digest = self.digest
        try:
            raw = encode(policy_input, self._input_max_bytes)
            if not self._breaker.admit(self._clock()):
                raise EngineUnavailable("OPA failed to answer; it is left alone for a moment")
            allowed = allowed_seconds(self._deadline_seconds, len(raw))
            async with self._watched(), asyncio.timeout(allowed), self._gate.open():
                digest = self.digest
                if self._doubted:
                    raise EngineUnavailable("OPA does not hold the active bundle")
                answer = await self._ask(raw, digest)
        except TimeoutError:
            _log.warning("OPA gave no decision in time")
            return deny_all(steps, Reason.POLICY_TIMEOUT, digest)
        except PolicyFault as exc:
            _log.warning("OPA gave no decision", detail=str(exc))
            return deny_all(steps, exc.reason, digest)
        return decide(steps, answer, digest)

    async def hidden(self, menu: Mapping[str, Any]) -> frozenset[str]:
        """See ``ports.PolicyEngine.hidden``. The breaker hears nothing of it: how long a list takes must not keep
        anybody from a decision."""
        raw = encode(menu, self._input_max_bytes)
        if self._breaker.state(self._clock()) is Circuit.OPEN:
            raise EngineUnavailable("OPA failed to answer; it is left alone for a moment")
        try:
            async with asyncio.timeout(allowed_seconds(self._deadline_seconds, len(raw))), self._gate.open():
                if self._doubted:
                    raise EngineUnavailable("OPA does not hold the active bundle")
                answer = await self._ask(raw, self.digest, MENU, "hidden")
        except TimeoutError:
            raise EvaluationFailed(Reason.POLICY_TIMEOUT, "deadline") from None
        return hidden_of(steps_of(menu), answer)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Report to the breaker whether the server answered. That a policy fails to evaluate is an answer."""
        try:
            yield
        except (TimeoutError, EngineUnavailable):
            self._breaker.failed(self._clock())
            raise
        except EvaluationFailed:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.forsaken()
            raise
        self._breaker.succeeded()

    async def maintain(self) -> None:
        """Look whether the server still holds the active bundle and nothing beside it, and repair it where it does not.

        Raises:
            EngineUnavailable: the server cannot be reached, or holds foreign policies in the bundle's packages.
        """
        if self._bundle is None:
            return
        async with asyncio.timeout(PUSH_SECONDS):
            await self._connect()
            try:
                held = await self._client.policies()
                strange = await self._client.remove_documents()
            except (*_UNREACHABLE, KeyError, TypeError) as exc:
                raise EngineUnavailable(f"OPA cannot be asked: {type(exc).__name__}") from None
            if strange:
                _log.warning("OPA held data documents beside the active bundle; they were taken out")
            wanted = _wanted(self._bundle, self._holder)
            foreign = [name for name, (package, _) in held.items() if name not in wanted and _ours(package)]
            changed = any(held.get(name, ("", ""))[1] != source for name, source in wanted.items())
            if foreign or changed or self._doubted:
                async with self._gate.closed():
                    await self._restore(self._bundle)
                _log.warning("OPA did not hold the active bundle any more; it was put back")

    async def ready(self) -> None:
        """See ``ports.PolicyEngine.ready``."""
        if self._bundle is None or self._doubted:
            raise EngineUnavailable("OPA does not hold the active bundle")
        if self._breaker.state(self._clock()) is Circuit.OPEN:
            raise EngineUnavailable("OPA failed to answer; it is left alone for a moment")
        try:
            async with asyncio.timeout(self._deadline_seconds):
                healthy = await self._client.check_health()
        except TimeoutError:
            healthy = False
        if not healthy:
            raise EngineUnavailable("OPA does not answer")

    async def try_out(self, bundle: Bundle, raw: bytes) -> Any:
        """Put ``bundle`` into a server of one's own and give its answer to an input as JSON, without a self-test.

        Raises:
            BundleError: OPA refuses the bundle.
            EvaluationFailed: ``policy.error`` or ``policy.timeout``.
            EngineUnavailable: the server cannot be reached.
        """
        await self._connect()
        await self._push(bundle)
        try:
            async with asyncio.timeout(allowed_seconds(self._deadline_seconds, len(raw))):
                return await self._ask(raw, bundle.digest)
        except TimeoutError:
            raise EvaluationFailed(Reason.POLICY_TIMEOUT, "deadline") from None

    async def close(self) -> None:
        """Close every connection. The bundle stays in the server."""
        self._bundle = None
        self._connected = False
        await self._client.close_connection()

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _ask(self, raw: bytes, digest: str, package: str = STAMP, member: str = "decisions") -> Any:
        """What the bundle ``digest`` says of an input as JSON; ``None`` where it is undefined.

        Raises:
            EvaluationFailed: OPA could not evaluate the policy.
            EngineUnavailable: OPA could not be asked, or answered by another bundle.
        """
        if not digest:
            raise EngineUnavailable("no bundle is active")
        answer = await self._query(raw, package)
        result = answer.get("result") if isinstance(answer, dict) else None
        if not isinstance(result, dict) or result.get("digest") != digest:
            self._doubted = self._doubted or package == STAMP
            raise EngineUnavailable("OPA did not answer by the active bundle")
        return result.get(member)

    async def _query(self, raw: bytes, package: str) -> Any:
        """Ask, and ask again where no answer came: a question changes nothing, so it may be asked twice."""
        for pause in (*RETRY_PAUSES_SECONDS, None):
            try:
                return await self._client.query_rule(orjson.Fragment(raw), package, query_params=_STRICT)
            except aiohttp.ClientResponseError as exc:
                if exc.status in {400, 500}:
                    raise EvaluationFailed(Reason.POLICY_ERROR, f"OPA answered {exc.status}") from None
                if exc.status not in _PASSING or pause is None:
                    raise EngineUnavailable(f"OPA answered {exc.status}") from None
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
                # A kept connection that the server closed meanwhile looks so, and a server that is being restarted.
                if pause is None:
                    raise EngineUnavailable(f"OPA cannot be reached: {type(exc).__name__}") from None
            except _UNREACHABLE as exc:
                raise EngineUnavailable(f"OPA cannot be reached: {type(exc).__name__}") from None
            await asyncio.sleep(pause)
        raise RuntimeError("the last try answers or raises")

    # --- the bundle in the server ------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if not self._connected:
            await self._client.__aenter__()
            self._connected = True

    async def _restore(self, bundle: Bundle) -> None:
        try:
            await self._push(bundle)
            self._doubted = False
        except PolicyFault as exc:
            self._doubted = True
            _log.error("the active bundle could not be put back into OPA", detail=str(exc))

    async def _push(self, bundle: Bundle) -> None:
        try:
            async with asyncio.timeout(PUSH_SECONDS):
                await self._replace_all(bundle)
        except TimeoutError:
            raise EngineUnavailable("OPA did not take the bundle in time") from None
        except (*_UNREACHABLE, opa_errors.DeletePolicyError, KeyError, TypeError) as exc:
            raise EngineUnavailable(f"OPA cannot be filled: {type(exc).__name__}") from None

    async def _replace_all(self, bundle: Bundle) -> None:
        """Take our modules out, the stamp first, and put the bundle's in, the stamp last."""
        wanted = _wanted(bundle, self._holder)
        held = await self._client.policies()
        foreign = sorted(name for name, (package, _) in held.items() if not name.startswith(PREFIX) and _ours(package))
        if foreign:
            raise EngineUnavailable(f"OPA holds policies of others in package {ROOT}: {', '.join(foreign)}")
        if self._holder is Holder.CANDIDATE and _HOLDS_ACTIVE in held.get(PREFIX + STAMP, ("", ""))[1]:
            # By whatever names the two addresses differ: it would take the bundle away that decides.
            raise EngineUnavailable("the server for candidates holds an active bundle; restart it if it is another one")
        await self._delete_all([name for name in held if name.startswith(PREFIX)])
        await self._client.remove_documents()
        stamp = wanted.pop(PREFIX + STAMP)
        await self._put_all(wanted)
        await self._client.update_policy_from_string(stamp, PREFIX + STAMP, rego_compat=False)

    async def _delete_all(self, names: Iterable[str]) -> None:
        """Take modules out, the stamp first; one whose functions another calls must go after it, so refused ones are
        tried again."""
        waiting = sorted(names, key=lambda name: name != PREFIX + STAMP)
        while waiting:
            refused: list[str] = []
            for name in waiting:
                try:
                    await self._client.delete_policy(quote(name))
                except opa_errors.DeletePolicyError:
                    if name == PREFIX + STAMP or len(refused) + 1 == len(waiting):
                        raise
                    refused.append(name)
            waiting = refused

    async def _put_all(self, wanted: Mapping[str, str]) -> None:
        """Put modules in; one that calls a function of another must come after it, so refused ones are tried again."""
        waiting = dict(wanted)
        while waiting:
            refused: dict[str, opa_errors.RegoParseError] = {}
            for name, source in waiting.items():
                try:
                    await self._client.update_policy_from_string(source, quote(name), rego_compat=False)
                except opa_errors.RegoParseError as exc:
                    refused[name] = exc
            if len(refused) == len(waiting):
                raise BundleError([problem for name, exc in refused.items() for problem in _refusals(name, exc)])
            waiting = {name: waiting[name] for name in refused}


def _holds(holder: Holder) -> str:
    return f'holder := "{holder}"'


_HOLDS_ACTIVE: Final = _holds(Holder.ACTIVE)


def _wanted(bundle: Bundle, holder: Holder) -> dict[str, str]:
    """Policy id -> source of everything that makes up a bundle in the server.

    Raises:
        BundleError: see ``literals.modules``.
    """
    digest = f'digest := "{bundle.digest}"'
    stamp = "\n\n".join([f"package {STAMP}", digest, _holds(holder), f"decisions := data.{ROOT}.decisions"]) + "\n"
    menu = "\n\n".join([f"package {MENU}", digest, f"hidden := data.{ROOT}.hidden"]) + "\n"
    data = {f"{PREFIX}{STAMP}/{package}": source for package, source in literals.modules(bundle).items()}
    rules = {PREFIX + module.path: module.source for module in bundle.modules}
    return {**rules, **data, PREFIX + MENU: menu, PREFIX + STAMP: stamp}


def _ours(package: str) -> bool:
    return package.partition(".")[0] in {ROOT, STAMP, MENU}


def _refusals(name: str, exc: opa_errors.RegoParseError) -> list[Problem]:
    """OPA's errors of one module; ``name`` is its policy id."""
    problems = []
    for error in exc.errors:
        where = error.get("location") or {}
        file = str(where.get("file") or name).removeprefix(PREFIX)
        message = f"OPA refuses it: {error.get('message')}"
        problems.append(Problem(file, int(where.get("row") or 0), int(where.get("col") or 0), message))
    return problems or [Problem(name.removeprefix(PREFIX), 0, 0, f"OPA refuses it: {exc}")]
