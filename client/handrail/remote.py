"""A hand that comes for its steps itself, from wherever it runs: nothing has to reach it.

    from handrail.remote import RemoteHand
    hand = RemoteHand("https://gateway.example", api_key, "crm", {"add_note": add_note}, issuer="handrail.local/log")
    hand.serve()

It asks the gateway for work, claims one step at a time, calls the function of its action and returns what that answers.
A step is handed out once: if this process ends before it returned the result, nobody runs the step again, and the
gateway calls it ambiguous. Run as many processes as there is work. docs/remote-hands.md has the protocol.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import httpx2

from handrail.connection import TIMEOUT_SECONDS, base_url, reply_of, settings, unreachable
from handrail.deadline import Deadline, Start
from handrail.errors import ClientError, HandrailProblem, StepRefused, ToolError, UnexpectedReply, Unreachable
from handrail.exchange import REPLY_MAX_DEPTH, Reply, path_of
from handrail.hand import Step, Verifier
from handrail.proving import ProofKey
from handrail.strict import parse

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
STEP_TOKEN: Final = "urn:handrail:token-type:step"  # noqa: S105 - a type, not a secret
WAIT_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 1.0
"""After the gateway could not be reached, or was too busy."""
_BUSY: Final = frozenset({429, 502, 503, 504})
_UNREADABLE: Final = frozenset({400, 413})
_LOG: Final = logging.getLogger(__name__)

Action = Callable[[dict[str, Any], Step], Any]
"""Takes the arguments and the step; see :meth:`RemoteHand.serve` for what it returns."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A step that is this process's to do. Nobody else gets it, and nobody gets it again.

    Attributes:
        begin_until: a hand that has not begun by then does nothing. An answer that was slow, or kept back, or a machine
            that slept, must not have a step run that the gateway gave up and people may have asked for anew.
        lease_until: when the gateway stops to wait for the result.
        result_max_bytes: of ``{content, structured}`` in canonical JSON.
    """

    step: Step
    args: dict[str, Any]
    credential: str = field(repr=False)
    begin_until: Deadline
    lease_until: Deadline
    result_max_bytes: int
    idempotency_key: str | None


class RemoteHand:
    """One hand's connection to its gateway; a context manager, not for use by several threads at once."""

    def __init__(
        self,
        url: str,
        api_key: str,
        hand: str,
        actions: Mapping[str, Action],
        *,
        issuer: str,
        jwks: Any = None,
        key: ProofKey | None = None,
        ca_file: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: the gateway's address, as its ``public_url`` says it.
            api_key: of a principal with the role ``hand`` that is bound to this hand; or an access token for it.
            hand: the hand's id, as the operator declared it.
            actions: action -> what does it.
            issuer: the gateway's log origin (``GET /v1/trust``).
            jwks: where the gateway's keys are, as ``handrail.step_keys.StepKeys`` takes them; default: the gateway.
                Give a file where whoever stands between this hand and its gateway should not be believed.
            key: the proof key; a fresh one by default.
            ca_file: authorities (PEM) that the gateway's certificate is verified by, instead of the system's.
        """
        self._base = base_url(url)
        self._hand = hand
        self._actions = dict(actions)
        self._key = key or ProofKey()
        keys = jwks or f"{self._base}/.well-known/jwks.json"
        self._verifier = Verifier(keys, issuer=issuer, hand=hand, ca_file=ca_file)
        self._timeout_seconds = timeout_seconds
        self._http = httpx2.Client(**settings(self._base, api_key, ca_file))
        self._nonce: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # --- the protocol, one request each ------------------------------------------------------------------------------

    def work(self, *, wait_seconds: float = WAIT_SECONDS, limit: int = 20) -> list[str]:
        """Ids of steps that may be claimed, oldest first; waits for one where there is none."""
        path = f"{path_of('hands', self._hand, 'work')}?wait={wait_seconds:g}&limit={limit}"
        reply = self._send("GET", path, b"", {}, self._timeout_seconds + wait_seconds).checked()
        steps = reply.document.get("steps")
        if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
            raise UnexpectedReply(reply.status, "the answer has no list of steps")
        return steps

    def claim(self, step_jti: str) -> Claimed:
        """Claim a step.

        Raises:
            HandrailProblem: it is not, or no longer, to be had: ``claim.taken`` where another was faster.
            StepRefused: what came is not the credential of a step for this hand and key: do nothing.
            Unreachable: no answer. The step may be claimed all the same, and is lost then.
        """
        form = {"grant_type": GRANT_TYPE, "subject_token": step_jti, "subject_token_type": STEP_TOKEN}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        asked = Start()
        reply = self._proved("/v1/token", urlencode(form).encode(), headers, None)
        if reply.status != 200:
            raise _refusal(reply)
        document = reply.document
        try:
            token, args = _typed(document, "access_token", str), _typed(document, "args", dict)
            lease = _typed(document, "lease_seconds", (int, float))
            begin = min(lease, _typed(document, "expires_in", int))
            most = _typed(document, "result_max_bytes", int)
            action = _typed(document, "scope", str)
        except KeyError:
            raise UnexpectedReply(reply.status, "the answer is not a claimed step") from None
        step = self._verifier.claimed(token, action, args, self._key.jkt)
        if step.jti != step_jti:
            raise StepRefused("credential.refused", "another step than the one that was asked for")
        until = Deadline(asked, begin), Deadline(asked, lease)
        return Claimed(step, args, token, *until, most, document.get("idempotency_key"))

    def give_back(
        self, claimed: Claimed, *, content: Any = (), structured: Any = None, is_error: bool = False
    ) -> dict[str, Any]:
        """Return a step's result; ``{status, error?}`` of the step, once that is on record.

        Args:
            content: MCP-style content blocks.
            structured: data, where the action has it.
            is_error: whether the tool failed.

        Raises:
            HandrailProblem: ``result.late``, ``result.taken``, or why it cannot be read.
            Unreachable: no answer; it may be sent again, and is taken once.
        """
        body = json.dumps({"content": list(content), "structured": structured, "is_error": is_error}).encode()
        path = path_of("steps", claimed.step.jti, "result")
        headers = {"Content-Type": "application/json", "Authorization": f"DPoP {claimed.credential}"}
        reply = self._proved(path, body, headers, claimed.credential)
        if reply.status != 200:
            raise _refusal(reply)
        return dict(reply.document)

    # --- serving -----------------------------------------------------------------------------------------------------

    def serve(self, stop: threading.Event | None = None) -> None:
        """Do work until ``stop`` is set.

        An action returns a text, JSON that becomes ``structured``, or ``None``; it raises
        :class:`~handrail.errors.ToolError` with words for the caller where it fails. Of any other exception the caller
        learns that there was one. A gateway that is away is asked again until it is back, with one warning in the log
        of this module for each reason.
        """
        stop = stop or threading.Event()
        said = ""
        while not stop.is_set():
            try:
                self.once(stop)
                said = ""
            except Unreachable as away:
                if str(away) != said:
                    said = str(away)
                    _LOG.warning("%s; asking again", said)
                stop.wait(PAUSE_SECONDS)
            except HandrailProblem as problem:
                if problem.status not in _BUSY:
                    raise
                stop.wait(PAUSE_SECONDS)

    def once(self, stop: threading.Event | None = None, *, wait_seconds: float = WAIT_SECONDS) -> int:
        """One look at the work, and whatever of it this process gets; returns how many steps."""
        steps = self.work(wait_seconds=wait_seconds)
        # Of many that look at the same time, each begins elsewhere.
        random.shuffle(steps)
        done = 0
        for step_jti in steps:
            if stop is not None and stop.is_set():
                break
            try:
                claimed = self.claim(step_jti)
            except HandrailProblem as problem:
                if problem.status >= 500 or problem.code.startswith(("auth.", "proof.")):
                    raise
                continue
            self._do(claimed)
            done += 1
        return done

    def _do(self, claimed: Claimed) -> None:
        result = self._called(claimed)
        while True:
            try:
                self.give_back(claimed, **result)
            except HandrailProblem as problem:
                if problem.status in _UNREADABLE and not result.get("is_error"):
                    # The tool acted, and what it said cannot be taken: that is what the caller learns.
                    result = _failed(f"The tool's result was refused ({problem.code}).")
                    continue
                if problem.status not in _BUSY or claimed.lease_until.is_over():
                    return  # taken before, or too late: the gateway has put it on record
            except Unreachable:
                if claimed.lease_until.is_over():
                    raise
            else:
                return
            time.sleep(PAUSE_SECONDS)

    def _called(self, claimed: Claimed) -> dict[str, Any]:
        action = self._actions.get(claimed.step.action)
        try:
            if action is None:
                raise ToolError("This hand has no such action.")
            if claimed.begin_until.is_over():
                raise ToolError("The step came too late, and was not begun.")
            answer = action(claimed.args, claimed.step)
            text = answer if isinstance(answer, str) else json.dumps(answer, allow_nan=False)
        except ToolError as error:
            return _failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever the tool raised, its result is that it failed
            return _failed(f"The tool failed ({type(error).__name__}).")
        structured = None if isinstance(answer, str) else answer
        return {"content": [] if answer is None else [{"type": "text", "text": text}], "structured": structured}

    # --- requests ----------------------------------------------------------------------------------------------------

    def _proved(self, path: str, body: bytes, headers: dict[str, str], credential: str | None) -> Reply:
        """A request with a proof; sent anew where the gateway gives another nonce, for then it did nothing."""
        for _ in range(2):
            given = self._nonce
            proof = self._key.prove("POST", self._base + path, body, nonce=given, credential=credential)
            reply = self._send("POST", path, body, {**headers, "DPoP": proof}, self._timeout_seconds)
            if reply.status not in {400, 401} or self._nonce == given or _code(reply) != "proof.nonce":
                break
        return reply

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Reply:
        try:
            response = self._http.request(method, path, content=body or None, headers=headers, timeout=timeout_seconds)
        except httpx2.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
        self._nonce = response.headers.get("dpop-nonce", self._nonce)
        return reply_of(response)


def _failed(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}], "is_error": True}


def _typed(document: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = document[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise KeyError(name)
    return value


def _document(reply: Reply) -> dict[str, Any]:
    try:
        value = parse(reply.body, max_depth=REPLY_MAX_DEPTH)
    except ClientError:
        return {}
    return value if isinstance(value, dict) else {}


def _code(reply: Reply) -> str:
    return str(_document(reply).get("code", ""))


def _refusal(reply: Reply) -> ClientError:
    """What was refused, in the gateway's words: a problem document, or an OAuth error with the same code."""
    document = _document(reply)
    code, detail = document.get("code"), document.get("detail") or document.get("error_description")
    if isinstance(code, str) and isinstance(detail, str):
        return HandrailProblem(code, reply.status, detail)
    return UnexpectedReply(reply.status, f"HTTP {reply.status}, and not in the gateway's words; is this its URL?")
