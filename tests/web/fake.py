"""A gateway that answers the web layer from memory, so that the web layer is what is tested."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.assurance import report
from audit.cosignature import Quorum
from audit.cosigned import Cosigned, CosignedCheckpoint
from audit.erasure import Erasure
from audit.evaluations import EvaluationPage, Fault, Recorded
from audit.export.heads import Head
from audit.export.lines import Format
from audit.query import Filter, Page, StoredEntry
from audit.subjects import Hold
from audit.tiles import Tile
from audit.witnesses import Witnesses
from gateway.calls import HandResult
from gateway.canonical import b64url_decode, b64url_encode
from gateway.conversations import Conversations
from gateway.draining import Drain
from gateway.entries import EntryDraft
from gateway.errors import HandrailError, Refused
from gateway.exports import Export, ExportRequest
from gateway.freeze import Cause, Freeze, FreezeState, Scope
from gateway.freezing import FreezeOrder
from gateway.ingress.claude_code import Hook
from gateway.ingress.client_calls import JudgedCall
from gateway.keyring.changes import KeyChanges
from gateway.manifest import ActionManifest, Manifest, SideEffects, Slo
from gateway.model import Binding, Principal, Role, Shown, UnverifiedPlan
from gateway.objectives import Objectives
from gateway.ports import Append, LetterStatus, Offer, OfferStatus, Purpose, Typ
from gateway.ports.undelivered import Issued
from gateway.privacy.requests import Preview
from gateway.proposals.acts import Said
from gateway.proposals.trust import TrustChanges
from gateway.reasons import Reason
from gateway.remote_steps.claims import Handed
from gateway.settings import Settings
from gateway.state import Reported
from gateway.telemetry import Metrics
from gateway.webauthn import SecurityKey
from keys.rotation import Compromise, KeyRecord, KeyState
from tests.client.stand_in import CANARY, COMPARISON, SHADOW
from tests.controls import found

BEFORE = "2027-01-15T08:00:01.000Z"
AFTER = "2027-01-15T08:00:02.000Z"
PLAN_ID = "ab" * 32
APPROVAL_ID = "apr-1"
PROPOSAL_ID = "0" * 32
DIGEST = "d" * 64


def principal(name: str, *roles: Role, hands: frozenset[str] | None = None) -> Principal:
    return Principal(name, "default", f"pseudonym-of-{name}", frozenset(roles), hands)


PRINCIPALS = {f"hr_{role}_key": principal(str(role), role) for role in Role}
PRINCIPALS["hr_foreign-auditor_key"] = Principal("eve", "other", "pseudonym-of-eve", frozenset({Role.AUDITOR}), None)
PRINCIPALS["hr_other_key"] = principal("other", Role.AGENT)
PRINCIPALS["hr_scoped_key"] = principal("scoped", Role.AGENT, hands=frozenset({"clock"}))
PRINCIPALS["hr_scoped-auditor_key"] = principal("scoped-auditor", Role.AUDITOR, hands=frozenset({"clock"}))


def token(role: Role | str) -> dict[str, str]:
    return {"authorization": f"Bearer hr_{role}_key"}


def manifest(hand: str, *actions: ActionManifest) -> Manifest:
    return Manifest(hand, "mcp", {action.name: action for action in actions})


def action(name: str, side_effects: SideEffects = SideEffects.NONE, **more: Any) -> ActionManifest:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    return ActionManifest(name, f"Does {name}.", schema, side_effects=side_effects, **more)


def step(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    decision = {
        "effect": "allow",
        "reasons": [{"code": "git.read", "message": "Reading is free."}],
        "policy_digest": "d",
    }
    return {"id": "call", "hand": "git", "action": "status", "status": status, "decision": decision, **more}


def view(status: str = "done", *steps: dict[str, Any]) -> dict[str, Any]:
    return {"plan_id": PLAN_ID, "context_id": "c", "status": status, "log_index": 1, "steps": list(steps)}


class testing_only_Log:  # noqa: N801
    origin = "handrail.test/log"

    @property
    def reads(self) -> "testing_only_Log":
        return self

    def __init__(self) -> None:
        self.aggregated: list[tuple[EntryDraft, str]] = []
        self.making: Callable[[Any], None] | None = None
        """What the making of a report does in its thread."""
        self.appended: list[EntryDraft] = []
        self.reports: list[report.ReportRequest] = []
        self.accesses: list[tuple[str, float, float]] = []
        self.evaluations_asked: list[tuple[str, dict[str, Any]]] = []
        self.cosigned = Cosigned(None, Quorum())  # type: ignore[arg-type]
        self.cosignatures_asked: list[int | None] = []
        self.tiles_asked: list[Tile] = []
        self.unready: HandrailError | None = None
        self.reader = testing_only_Reader()
        self.broken: HandrailError | None = None

    def aggregate(self, entry: EntryDraft, source: str) -> None:
        self.aggregated.append((entry, source))

    async def append(self, item: Append) -> Sequence[int]:
        if self.broken is not None:
            raise self.broken
        self.appended.extend(item.entries)
        return list(range(len(item.entries)))

    async def ready(self) -> None:
        if self.unready is not None:
            raise self.unready

    async def evaluations(self, tenant: str, **asked: Any) -> EvaluationPage:
        self.evaluations_asked.append((tenant, asked))
        steps = [{"id": "s", "hand": "git"}]
        value = orjson.dumps({"input": {"steps": steps}, "decisions": {}})
        found = [
            Recorded(3, "2026-01-01T00:00:00.000Z", "c" * 64, value),
            Recorded(5, "2026-01-01T00:00:00.001Z", "d" * 64, None, Fault.ERASED),
        ]
        return EvaluationPage(found, 2, 9, 5, 9)

    async def query(self, wanted: Filter, **asked: Any) -> Page:
        return self.reader.query(wanted, **asked)

    async def report(self, asked: report.ReportRequest, progress: Any) -> dict[str, Any]:
        self.reports.append(asked)
        if self.making is not None:
            await asyncio.to_thread(self.making, progress)
        return found.report()

    async def usage(
        self, tenant: str, since: float, until: float, progress: Any
    ) -> tuple[int, list[dict[str, str | int]]]:
        names = {"first": "2026-01-01T00:00:00.000Z", "last": "2026-01-01T00:00:00.000Z"}
        return 9, [{"hand": "git", "action": "log", "calls": 3, **names}]

    async def access(self, tenant: str, at: float, now: float) -> dict[str, Any]:
        self.accesses.append((tenant, at, now))
        review = {**found.access(), "policy": {**found.access()["policy"], "digest": "0" * 64}}
        del review["permissions"]
        return {**review, "hands": [{**review["hands"][0], "hand": "git"}]}

    async def cover(self, index: int) -> None:
        """Every entry is."""

    async def proofs(self, indices: Sequence[int]) -> tuple[str, Mapping[int, Sequence[bytes]]]:
        return await self.checkpoint(), {index: [bytes([index]) * 32] for index in indices}

    async def checkpoint(self) -> str:
        return "handrail.test/log\n1\nAAAA\n\n\u2014 handrail.test/log AAAA\n"

    async def cosigned_checkpoint(self, needed: int | None = None) -> CosignedCheckpoint:
        self.cosignatures_asked.append(needed)
        return CosignedCheckpoint(1, await self.checkpoint())

    async def tile(self, tile: Tile) -> bytes:
        self.tiles_asked.append(tile)
        return bytes(32) * tile.width

    async def bundle(self, tile: Tile) -> bytes:
        self.tiles_asked.append(tile)
        return b"\x00\x02{}" * tile.width


class testing_only_Directory:  # noqa: N801
    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.failure: Exception | None = None
        self.added: list[Any] = []

    async def authenticate(
        self, presented: str, now: float, certificate: Any = None, audiences: Sequence[str] = ()
    ) -> Principal:
        if self.failure is not None:
            raise self.failure
        if presented == "hr_expired_key":
            raise Refused(Reason.AUTH_EXPIRED, "yesterday")
        if presented not in PRINCIPALS or presented in self.revoked:
            raise Refused(Reason.AUTH_INVALID, "unknown")
        return PRINCIPALS[presented]

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        return principal(principal_id)

    async def shown(self, presented: str, now: float, certificate: Any = None, audiences: Sequence[str] = ()) -> Shown:
        return Shown(key_id="0" * 16)

    async def list_principals(self, actor: Principal) -> list[dict[str, Any]]:
        return [self._principal("agent")]

    async def add_principal(self, actor: Principal, person: Any) -> dict[str, Any]:
        self.added.append(person)
        key = {"key_id": "0" * 16, "token": "hr_new", "expires_at": AFTER}
        return {"principal": self._principal(person.id), "api_key": key}

    async def issue_api_key(self, actor: Principal, principal_id: str, ttl_days: int, api_key: Any) -> dict[str, Any]:
        return {"key_id": "0" * 16, "token": "hr_new", "expires_at": AFTER}

    async def name_anew(self, actor: Principal, pseudonym: str, principal_id: str) -> dict[str, Any]:
        return self._principal(principal_id)

    async def offer_enrolment(self, actor: Principal, principal_id: str) -> dict[str, Any]:
        return {"ticket": "hre_x.y", "expires_at": AFTER}

    async def security_keys(self, tenant: str, pseudonym: str) -> list[SecurityKey]:
        return [SecurityKey("k", "AA", {"kty": "EC", "crv": "P-256", "x": "A", "y": "A"}, "localhost", 3)]

    async def revoke_security_key(self, actor: Principal, principal_id: str, kid: str) -> None:
        self.revoked.add(kid)

    async def links(self, actor: Principal, principal_id: str) -> list[dict[str, Any]]:
        return [self._link("s")]

    async def link_subject(self, actor: Principal, principal_id: str, issuer: str, subject: str) -> dict[str, Any]:
        self.added.append((principal_id, issuer, subject))
        return self._link(subject)

    async def link_certificate(self, actor: Principal, principal_id: str, shown: Any) -> dict[str, Any]:
        self.added.append((principal_id, shown))
        return {**self._link("s"), "kind": "certificate", "source": "uri"}

    async def unlink(self, actor: Principal, principal_id: str, link_id: str) -> dict[str, Any]:
        return {**self._link("s"), "id": link_id, "revoked_at": AFTER}

    @staticmethod
    def _link(subject: str) -> dict[str, Any]:
        return {
            "id": "l1",
            "kind": "token",
            "source": "https://issuer.example",
            "subject": subject,
            "expires_at": None,
            "created_at": BEFORE,
            "revoked_at": None,
        }

    async def revoke_principal(self, actor: Principal, principal_id: str) -> dict[str, Any]:
        return self._principal(principal_id)

    async def list_issuers(self, actor: Principal) -> list[dict[str, Any]]:
        return [self._issuer("i")]

    async def add_issuer(
        self, actor: Principal, issuer_id: str, jwk: Any, speaks_for: Any, *, attests_request: bool
    ) -> dict[str, Any]:
        self.added.append((issuer_id, jwk, speaks_for, attests_request))
        return self._issuer(issuer_id)

    async def revoke_issuer(self, actor: Principal, issuer_id: str) -> dict[str, Any]:
        return self._issuer(issuer_id)

    async def revoke_issuer_key(self, actor: Principal, issuer_id: str, kid: str) -> dict[str, Any]:
        return self._issuer(issuer_id)

    def _principal(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "tenant": "default",
            "roles": ["agent"],
            "hands": None,
            "created_at": BEFORE,
            "revoked_at": None,
            "approval_kid": None,
        }

    def _issuer(self, name: str) -> dict[str, Any]:
        key = {"kid": "k", "not_before": BEFORE, "not_after": None, "revoked_at": None}
        return {
            "id": name,
            "tenant": "default",
            "keys": [key],
            "speaks_for": [],
            "attests_request": False,
            "revoked_at": None,
        }


class testing_only_Pipeline:  # noqa: N801
    def __init__(self) -> None:
        self.objectives = Objectives(Metrics(), time.time)
        self.conversations = Conversations()
        self.submitted: list[tuple[UnverifiedPlan, float]] = []
        self.answer: dict[str, Any] | Exception = view("done", step(result={"content": [], "structured": None}))
        self.answers: dict[str, dict[str, Any] | Exception] = {}
        """Hand -> what its plans get instead."""
        self.script: list[tuple[int, str, dict[str, Any]]] = []
        self.hold = asyncio.Event()
        self.holds = False
        self.slow: asyncio.Event | None = None
        self.completed = 0
        self.following = 0
        self.pulled = 0

    async def submit(self, unverified: UnverifiedPlan, *, wait_seconds: float = 0.0) -> dict[str, Any]:
        self.submitted.append((unverified, wait_seconds))
        if self.slow is not None:
            await self.slow.wait()
        self.completed += 1
        answer = self.answers.get(self.claims()["actions"][0]["hand"], self.answer) if self.answers else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def view(self, plan_id: str, viewer: Principal) -> dict[str, Any]:
        if plan_id != PLAN_ID:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such plan")
        return view("done", step())

    async def events(
        self, plan_id: str, viewer: Principal, after: int = 0
    ) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        if plan_id != PLAN_ID:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such plan")
        self.following += 1
        try:
            for event in self.script:
                if event[0] > after:
                    self.pulled += 1
                    yield event
            if self.holds:
                await self.hold.wait()
        finally:
            self.following -= 1

    def claims(self, at: int = -1) -> dict[str, Any]:
        """The payload of a submitted plan."""
        return dict(orjson.loads(b64url_decode(self.submitted[at][0].raw.split(b".")[1].decode())))


class testing_only_Undelivered:  # noqa: N801
    """Knows of no call, and is told of each whose answer was delivered."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def find(self, *_: Any) -> Sequence[Issued]:
        return []

    async def delivered(self, plan_ids: Collection[str]) -> None:
        self.told += plan_ids


class testing_only_Keyset:  # noqa: N801
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.signed: list[tuple[Purpose, Typ]] = []
        self.changed: list[tuple[str, str]] = []

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        self.signed.append((purpose, typ))
        head = b64url_encode(orjson.dumps({"alg": "Ed25519", "kid": "k", "typ": str(typ)}))
        text = f"{head}.{b64url_encode(payload)}"
        return f"{text}.{b64url_encode(self._key.sign(text.encode()))}"

    def jwks(self) -> Mapping[str, Any]:
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": "k"}]}

    def list(self) -> Sequence[KeyRecord]:
        return [KeyRecord("k", Purpose.STEP, "A" * 43, KeyState.ACTIVE, 1.0, 1.0)]

    def create(self, purpose: Purpose) -> Sequence[KeyRecord]:
        self.changed.append(("create", str(purpose)))
        return self.list()

    def rotate(self, purpose: Purpose) -> Sequence[KeyRecord]:
        self.changed.append(("rotate", str(purpose)))
        return self.list()

    def revoke(self, kid: str, *, compromise: Compromise | None = None) -> Sequence[KeyRecord]:
        self.changed.append(("revoke", kid if compromise is None else f"{kid} since {compromise.at}"))
        return self.list()


class testing_only_KeyHistory:  # noqa: N801
    async def signed(self) -> str:
        return "a.b.c"

    async def compromise(self, kid: str, at: float) -> Compromise:
        return Compromise(at, 7)


class testing_only_Epochs:  # noqa: N801
    def names(self) -> list[str]:
        return ["00000001-aa", "00000002-bb"]


class testing_only_Hands:  # noqa: N801
    def __init__(self) -> None:
        self.pinned: list[tuple[str, str, str]] = []
        self.manifests = [
            manifest("git", action("status"), action("commit", SideEffects.REVERSIBLE)),
            replace(
                manifest("clock", action("now", idempotent=True), action("set", SideEffects.EXTERNAL)),
                slo=Slo(0.99, 2.0, 0.95, 28),
            ),
        ]

    def listed(self, caller: Principal) -> Sequence[Manifest]:
        return [known for known in self.manifests if caller.may_use(known.hand)]

    def states(self) -> dict[str, str]:
        return {"git": "pinned"}

    def describe(self, tenant: str) -> list[dict[str, Any]]:
        return [self._document(known.hand) for known in self.manifests]

    def describe_one(self, tenant: str, hand: str) -> dict[str, Any]:
        return {**self._document(hand), "diff": [], "manifest": {"hand": hand}}

    async def pin(self, hand: str, digest: str, actor: Principal) -> None:
        self.pinned.append((hand, digest, actor.id))

    def _document(self, hand: str) -> dict[str, Any]:
        if hand not in {known.hand for known in self.manifests}:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return {
            "id": hand,
            "adapter": "mcp",
            "state": "pinned",
            "pinned_digest": "0" * 64,
            "offered_digest": "0" * 64,
            "region": None,
            "trust": "untrusted",
            "secrets": [],
            "egress": [],
            "load": {"circuit": "closed", "running": 0, "waiting": 0},
            "actions": [],
        }


class testing_only_Secrets:  # noqa: N801
    def __init__(self) -> None:
        self.changed: list[tuple[str, ...]] = []

    async def listed(self, actor: Principal) -> list[dict[str, Any]]:
        return [self._document("token")]

    async def show(self, actor: Principal, name: str) -> dict[str, Any]:
        return self._document(name)

    async def check(self, actor: Principal) -> list[dict[str, Any]]:
        return [
            {
                "store": "sealed",
                "name": "token",
                "hands": ["git"],
                "connections": ["hub"],
                "usable": True,
                "version": "1",
            }
        ]

    async def set(self, actor: Principal, name: str, value: str) -> dict[str, Any]:
        self.changed.append(("set", actor.id, name, value))
        return self._document(name)

    async def rotate(self, actor: Principal, name: str, value: str) -> dict[str, Any]:
        self.changed.append(("rotate", actor.id, name, value))
        return self._document(name)

    async def remove(self, actor: Principal, name: str) -> dict[str, Any]:
        self.changed.append(("remove", actor.id, name))
        return self._document(name)

    def _document(self, name: str) -> dict[str, Any]:
        known = {"version": "1", "set_by": "p-admin", "set_at": "2026-11-26T15:00:00.000Z"}
        return {**known, "name": name, "store": "sealed", "hands": ["git"], "connections": ["hub"]}


class testing_only_Connections:  # noqa: N801
    def of(self, tenant: str) -> bool:
        return False

    async def listed(self, person: Principal) -> list[dict[str, Any]]:
        return [self._document("hub")]

    async def show(self, person: Principal, name: str) -> dict[str, Any]:
        return self._document(name)

    async def remove(self, person: Principal, name: str) -> dict[str, Any]:
        return {**self._document(name), "revoked": True}

    async def listed_of(self, actor: Principal, principal_id: str) -> list[dict[str, Any]]:
        return [{"id": "hub", "title": "Hub", "state": "connected"}]

    async def end(self, actor: Principal, principal_id: str, name: str) -> dict[str, Any]:
        return {"id": name, "title": "Hub", "state": "removed", "revoked": True}

    def _document(self, name: str) -> dict[str, Any]:
        lists = {"scopes": ["read"], "targets": ["https://hub.example:443"], "hands": ["git"]}
        return {"id": name, "title": "Hub", "state": "none", "page": "https://gw.example/connections", **lists}


class testing_only_Approvals:  # noqa: N801
    def __init__(self) -> None:
        self.answers: list[tuple[str, str, str | None, bytes | None]] = []
        self.asked: list[tuple[str | None, str | None, int]] = []

    async def list(self, viewer: Principal, status: str | None, *, after: str | None, limit: int) -> dict[str, Any]:
        self.asked.append((status, after, limit))
        return {"approvals": [await self.show(APPROVAL_ID, viewer)], "next": None}

    async def show(self, approval_id: str, viewer: Principal) -> dict[str, Any]:
        return {
            "id": approval_id,
            "status": "open",
            "plan_id": PLAN_ID,
            "step_id": "call",
            "requested_by": "agent",
            "acts_for": "agent",
            "requested_at": BEFORE,
            "expires_at": AFTER,
            "approver_role": "approver",
            "quorum": 1,
            "enrolled_key": False,
            "asked": 1,
            "answers": [],
            "void_answers": [],
            "your_answer": None,
            "successor": None,
        }

    async def answer(
        self,
        approval_id: str,
        approver: Principal,
        *,
        answer: str | None = None,
        asked: int | None = None,
        signed: bytes | None = None,
    ) -> dict[str, Any]:
        self.answers.append((approval_id, approver.id, answer, signed))
        return await self.show(approval_id, approver)


class testing_only_Pulling:  # noqa: N801
    def notice_digest(self) -> None:
        return None

    def check_notice(self, signature: str | None, token: str | None, digest: Any) -> None:
        raise Refused(Reason.POLICY_NO_REMOTE)

    async def pull(self) -> dict[str, Any]:
        return self.view()

    def view(self) -> dict[str, Any]:
        return {
            "url": "https://git.example/policies",
            "ref": "refs/heads/main",
            "path": "policy.bundle",
            "interval_seconds": 60.0,
            "notify": False,
            "tried_at": AFTER,
            "good_at": BEFORE,
            "commit": "a" * 40,
            "digest": DIGEST,
            "rewritten": {"moved": "back", "before": "b" * 40, "commit": "a" * 40},
            "problem": {"code": "policy.source", "detail": "git fetch: no", "commit": None},
        }


class testing_only_Bundles:  # noqa: N801
    async def get(self, digest: str) -> None:
        return None


class testing_only_Lifecycle:  # noqa: N801
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.bundles = testing_only_Bundles()

    async def list(self, viewer: Principal) -> dict[str, Any]:
        shown = await self.show(DIGEST, viewer)
        summary = {name: shown[name] for name in ("digest", "commit", "added_by", "added_at")}
        return {"bundles": [summary], "activations": shown["activations"]}

    async def show(self, digest: str, viewer: Principal) -> dict[str, Any]:
        if digest != DIGEST:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return {
            "digest": digest,
            "commit": "a" * 40,
            "added_by": "author",
            "added_at": BEFORE,
            "directory": "policies",
            "built_at": BEFORE,
            "signer": "author",
            "kid": "k",
            "checks": {"opa": None, "tests": None, "coverage": None},
            "files": [{"path": "a.rego", "sha256": "1" * 64}],
            "activations": [await self.rollback(viewer, digest, act=None)],
        }

    async def file(self, digest: str, viewer: Principal) -> str:
        return "a.b.c"

    async def add(self, actor: Principal, token: bytes) -> dict[str, Any]:
        self.asked.append((actor.id, token))
        return await self.show(DIGEST, actor)

    async def rollback(self, actor: Principal, digest: str | None, *, act: bytes | None) -> dict[str, Any]:
        self.asked.append((actor.id, digest, act))
        return {"number": 1, "digest": DIGEST, "way": "rollback", "proposal_id": None, "by": actor.id, "at": BEFORE}


class testing_only_Proposals:  # noqa: N801
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def list(
        self, viewer: Principal, status: str | None, kind: str | None, *, after: str | None, limit: int
    ) -> dict[str, Any]:
        self.asked.append((status, kind, after, limit))
        return {"proposals": [await self.show(PROPOSAL_ID, viewer)], "next": None}

    async def show(self, proposal_id: str, viewer: Principal) -> dict[str, Any]:
        if proposal_id != PROPOSAL_ID:
            raise Refused(Reason.REQUEST_NOT_FOUND)
        return {
            "id": proposal_id,
            "kind": "policy.observe",
            "tenant": "default",
            "subject": "git",
            "document": {"hand": "git", "lasts_seconds": 60},
            "document_sha256": "0" * 64,
            "status": "open",
            "proposed_by": "author",
            "proposed_attested_by": "gateway",
            "proposed_at": BEFORE,
            "expires_at": AFTER,
        }

    async def propose(self, actor: Principal, kind: str, document: Any, *, signed: bytes | None) -> dict[str, Any]:
        self.asked.append((actor.id, str(kind), document, signed))
        return await self.show(PROPOSAL_ID, actor)

    async def activate(self, proposal_id: str, actor: Principal, *, document_sha256: str, said: Said) -> dict[str, Any]:
        self.asked.append((proposal_id, actor.id, document_sha256, said.signed))
        return {**await self.show(proposal_id, actor), "status": "activated", "decided_by": actor.id}

    async def sign(self, proposal_id: str, actor: Principal, *, document_sha256: str, said: Said) -> dict[str, Any]:
        self.asked.append((proposal_id, actor.id, document_sha256, said.signed))
        signature = {"by": actor.id, "attested_by": "gateway", "kid": None, "at": AFTER, "counts": True}
        return {**await self.show(proposal_id, actor), "needed": 2, "signatures": [signature]}

    async def withdraw(self, proposal_id: str, actor: Principal) -> dict[str, Any]:
        return {**await self.show(proposal_id, actor), "status": "withdrawn"}


class testing_only_Evidence:  # noqa: N801
    async def answers(self, approval_id: str, viewer: Principal) -> dict[str, Any]:
        answer = {
            "v": 1,
            "attested_by": "webauthn",
            "void": False,
            "entry": "{}",
            "log_index": 3,
            "fields": {"answer": "00"},
            "opening": {"salt": "AA", "value": "AA"},
            "proof": "c2sp.org/tlog-proof@v1\n",
        }
        return {"approval_id": approval_id, "answers": [answer]}

    async def receipt(self, receipt_id: str, viewer: Principal) -> dict[str, Any]:
        return {
            "v": 1,
            "receipt_id": receipt_id,
            "receipt": "a.b.c",
            "entry": "{}",
            "log_index": 3,
            "fields": {"args": "00"},
            "openings": {"args": {"salt": "AA", "value": "AA"}},
        }

    async def proof(self, receipt_id: str, viewer: Principal) -> str:
        return "c2sp.org/tlog-proof@v1\n"

    async def why(self, plan_id: str, step_id: str, viewer: Principal) -> dict[str, Any]:
        return {
            "plan_id": plan_id,
            "step_id": step_id,
            "status": "denied",
            "decision": None,
            "error": {"code": "policy.denied", "text": "Policy denies this step."},
            "reasons": [{"code": "a.b", "message": "No.", "file": "a.rego", "line": 3, "rule": "a", "title": "A"}],
            "input": {"v": 1},
        }


class testing_only_Policy:  # noqa: N801
    digest = "0" * 64
    data = {"handrail": {"grants": {"readers": ["agent"], "scopes": {}, "table": []}}}  # noqa: RUF012
    files = (("a.rego", "1" * 64),)
    problem: str | None = None


class testing_only_Shadows:  # noqa: N801
    async def show(self, viewer: Principal) -> dict[str, Any]:
        return {"shadow": SHADOW, "gateways": ["gw-1"], "comparison": COMPARISON}

    async def start(self, actor: Principal, digest: str, lasts_seconds: int) -> dict[str, Any]:
        return await self.show(actor)

    async def stop(self, actor: Principal) -> dict[str, Any]:
        return await self.show(actor)


class testing_only_Canaries:  # noqa: N801
    async def show(self, viewer: Principal) -> dict[str, Any]:
        return {"canary": CANARY, "gateways": ["gw-1"], "comparison": COMPARISON}


class testing_only_Rollout:  # noqa: N801
    def document(self, viewer: Principal) -> dict[str, Any]:
        let_go = {"deny": 3, "ask": 1}
        return {"observed": [{"hand": "git", "proposal": "a" * 32, "since": BEFORE, "until": AFTER, "let_go": let_go}]}

    def __init__(self) -> None:
        self.shadows = testing_only_Shadows()
        self.canaries = testing_only_Canaries()

    def readiness(self) -> dict[str, str]:
        return {"git": "2026-01-01T00:00:00.000Z"}


class testing_only_Reader:  # noqa: N801
    def __init__(self) -> None:
        self.queries: list[tuple[Filter, int | None, int, bool]] = []

    def query(
        self,
        wanted: Filter,
        *,
        after: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
        counted: bool = False,
    ) -> Page:
        self.queries.append((wanted, after, limit, newest_first))
        return Page([StoredEntry(7, "POLDNY", b'{"v":1}', {})], None, 8, 0, 7, 1 if counted else None)


class testing_only_Privacy:  # noqa: N801
    HOLD = Hold("h1", "default", "@person/ann", "legal_claim", 1.0, "p-1", None)
    ERASURE = Erasure("e1", "default", 1.0, "p-1", 4, None, 1, 2, None, None)

    def __init__(self) -> None:
        self.rotated: list[str] = []

    async def rotate_epoch(self, actor: Principal) -> None:
        self.rotated.append(actor.id)

    async def access(self, actor: Principal, name: str) -> AsyncIterator[tuple[str, Any]]:
        async def parts() -> AsyncIterator[tuple[str, Any]]:
            yield "about", {"person": name}
            yield "rows", {}
            yield "value", {"commitment": "c"}
            yield "value", {"commitment": "d"}
            yield "end", {"values": 2, "entries": 0}

        return parts()

    async def preview(self, actor: Principal, name: str) -> Preview:
        return Preview(1, 2, 1, {"plans": 1}, 0, False, 0, [self.HOLD])

    async def erase(self, actor: Principal, name: str, *, acts: bool) -> Erasure:
        return self.ERASURE

    async def erasure(self, actor: Principal, erasure_id: str) -> Erasure:
        return self.ERASURE

    async def hold(self, actor: Principal, name: str, code: str, until: float | None) -> Hold:
        return self.HOLD

    async def holds(self, actor: Principal) -> list[Hold]:
        return [self.HOLD]

    async def lift(self, actor: Principal, hold_id: str) -> Hold:
        return self.HOLD


class testing_only_Exports:  # noqa: N801
    def __init__(self) -> None:
        self.asked: list[tuple[ExportRequest, str]] = []
        self.pieces = [b"one\n", b"two\n"]
        self.breaks: HandrailError | None = None
        self.refusal: HandrailError | None = None
        self.hold: asyncio.Event | None = None
        self.closed = 0

    async def open(self, asked: ExportRequest, principal: Principal) -> Export:
        self.asked.append((asked, principal.id))
        if self.refusal is not None:
            raise self.refusal
        kind = "application/x-tar" if asked.format is Format.BUNDLE else "application/x-ndjson"
        head = Head(tree_size=9, note=await testing_only_Log().checkpoint(), cosignatures=1, needed=2, log_size=11)
        return Export(kind, head, 2, self._chunks(), later=2)

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                yield piece
                if self.hold is not None:
                    await self.hold.wait()
            if self.breaks is not None:
                raise self.breaks
        finally:
            self.closed += 1


class testing_only_Freezing:  # noqa: N801
    """Nothing is frozen until a test says so."""

    def __init__(self) -> None:
        self.now = FreezeState()
        self.asked: list[FreezeOrder] = []

    async def list(self, viewer: Principal, *, lifted: bool = False) -> dict[str, Any]:
        return {"freezes": [testing_only_freeze(lifted=lifted)]}

    async def set(self, actor: Principal, asked: FreezeOrder) -> tuple[dict[str, Any], bool]:
        self.asked.append(asked)
        return testing_only_freeze(scope=str(asked.scope), subject=asked.subject, cause=str(asked.cause)), True


def testing_only_freeze(**changes: Any) -> dict[str, Any]:
    at = Freeze("f" * 16, "default", Scope.HAND, "git", Cause.DRILL, "p-x", 5.0, index=7)
    return {**at.document(), "subject": "git", "by": "x", "why": None, **changes}


class testing_only_DeadLetters:  # noqa: N801
    """One dead letter."""

    async def list(self, viewer: Principal, status: LetterStatus, *, after: int | None, limit: int) -> dict[str, Any]:
        settled = {"verdict": str(status), "by": "op", "at": AFTER, "retry_plan": None}
        one = {
            "plan_id": PLAN_ID, "step_id": "call", "context_id": "c", "principal": "ada", "hand": "git",
            "action": "status", "status": "ambiguous", "reason": "hand.lost_reply", "ended_at": BEFORE,
            "age_seconds": 1, "log_index": 4, "hand_usable": True,
            "settled": None if status is LetterStatus.OPEN else settled,
        }  # fmt: skip
        return {"dead_letters": [one], "next": None}

    async def discard(self, actor: Principal, plan_id: str, step_id: str, why: str) -> dict[str, Any]:
        return {"plan_id": plan_id, "step_id": step_id, "verdict": "discarded"}

    async def retry(
        self, actor: Principal, plan_id: str, step_id: str, why: str, *, not_executed: bool, wait_seconds: float
    ) -> dict[str, Any]:
        return view("done", step())


class testing_only_Runs:  # noqa: N801
    """One run, over."""

    async def begin(self, caller: Principal, shown: Any, asked: Any, wish: Any) -> dict[str, Any]:
        return testing_only_run()

    async def view(self, run_id: str, viewer: Principal) -> dict[str, Any]:
        return testing_only_run(run_id=run_id)

    async def page(self, viewer: Principal, *, after: int | None, limit: int) -> dict[str, Any]:
        summary = ("run_id", "status", "principal", "brain", "created_at", "deadline_at", "steps", "tokens")
        return {"runs": [{name: testing_only_run()[name] for name in summary}], "next": None}

    async def events(self, run_id: str, viewer: Principal, after: int = 0) -> AsyncIterator[tuple[int, str, Any]]:
        if after < 5:
            yield 5, "done", testing_only_run(run_id=run_id)

    async def cancel(self, run_id: str, caller: Principal) -> dict[str, Any]:
        return testing_only_run(run_id=run_id)


def testing_only_run(**changes: Any) -> dict[str, Any]:
    return {
        "run_id": f"run_{'0' * 32}", "context_id": f"run_{'0' * 32}", "status": "done", "principal": "ada",
        "brain": "claude", "hands": None, "created_at": BEFORE, "deadline_at": AFTER, "steps": 1, "tokens": 17,
        "budget": {"steps": 100, "tokens": 1000}, "text": "Done.", "log_index": 3,
        "turns": [{"turn": 0, "kind": "model", "brain": "claude", "plan_id": PLAN_ID}], **changes,
    }  # fmt: skip


class testing_only_ManagedAgents:  # noqa: N801
    """One session and one agent."""

    session: ClassVar[dict[str, Any]] = {
        "connector": "cloud", "session_id": "sesn_1", "agent_id": "agent_1", "context_id": "agents-1",
        "state": "following", "adopted_at": "2026-11-21T02:00:00.000Z", "on_behalf_of": "bot",
    }  # fmt: skip

    async def list(self, viewer: Principal) -> dict[str, Any]:
        return {"sessions": [self.session]}

    async def show(self, viewer: Principal, name: str, session_id: str) -> dict[str, Any]:
        use = {"event_id": "sevt_1", "plan_id": PLAN_ID, "state": "answered", "verdict": "allow", "reported": True}
        return {**self.session, "problem": None, "unreadable": [], "tool_uses": [use]}

    async def follow(self, actor: Principal, name: str, session_id: str) -> dict[str, Any]:
        return self.session

    async def release(self, actor: Principal, name: str, session_id: str) -> dict[str, Any]:
        return {**self.session, "state": "released"}

    async def agent(self, viewer: Principal, name: str, agent_id: str) -> dict[str, Any]:
        nowhere = {"hand": None, "action": None, "lacks": None}
        word = {"toolset": "toolset", "tool": "*", "policy": "always_ask", "needed": "always_ask", **nowhere}
        return {
            "connector": "cloud", "agent_id": "agent_1", "name": "one", "version": 1, "governed": True,
            "policies": [word], "custom_tools": [{"tool": "crm__read", "hand": "crm", "action": "read", "lacks": None}],
            "hands_work_to": [], "unknown": [],
        }  # fmt: skip

    async def adopt(self, actor: Principal, name: str, agent_id: str) -> dict[str, Any]:
        return await self.agent(actor, name, agent_id)


class testing_only_Proofs:  # noqa: N801
    """Believes every proof: the real ones are checked in ``tests/keys/test_dpop.py``."""

    jkt = "j" * 43

    def nonce(self) -> str:
        return "n" * 43

    def check(self, text: str, method: str, path: str, credential: str | None = None) -> "testing_only_Proofs":
        return self

    def covers(self, body: bytes) -> None:
        """Any."""


class testing_only_Claims:  # noqa: N801
    """The claims and results of ``gateway.remote_steps`` with one step, which is always to be had."""

    def __init__(self) -> None:
        self.proofs = testing_only_Proofs()
        self.refusal: HandrailError | None = None

    async def work(self, claimant: Principal, hand: str, limit: int, wait_seconds: float) -> Sequence[str]:
        return ["a" * 32]

    async def claim(self, claimant: Principal, step_jti: str, jkt: str) -> Handed:
        if self.refusal is not None:
            raise self.refusal
        binding = Binding("default", PLAN_ID, "call", "git", "look", "0" * 64, "1" * 64, "2" * 64)
        return Handed("t", binding, {"x": 1}, 60, 30.0, 1000, None)

    async def leased(self, step_jti: str, credential: str) -> Offer:
        return Offer(
            step_jti, PLAN_ID, "call", "default", "git", "gw", OfferStatus.CLAIMED, 0.0, 1.0, 0.0, 1, "p", "j" * 43
        )

    async def take(self, lease: Offer, returned: HandResult) -> dict[str, Any]:
        return {"status": "succeeded"}


class testing_only_ClientSteps:  # noqa: N801
    """What is asked of calls that clients make themselves. ``error`` is raised instead of an answer."""

    async def find(self, caller: Principal, call_ids: Collection[str]) -> dict[str, Any]:
        return {}

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[Any] = []

    async def judge(self, caller: Principal, context_id: str, calls: Any, *, wait_seconds: float) -> list[JudgedCall]:
        self.asked.append((caller.id, context_id, wait_seconds))
        return [JudgedCall(PLAN_ID, step("released"), go=True) for _ in calls]

    async def report(self, caller: Principal, plan_id: str, step_id: str, result: HandResult) -> Reported:
        return Reported(result.is_error, 0.0, 7, result)

    async def answer(self, caller: Principal, hand: str, hook: Hook, *, wait_seconds: float) -> dict[str, Any]:
        self.asked.append((caller.id, hand, hook, wait_seconds))
        if self.error is not None:
            raise self.error
        return {}


class testing_only_Menus:  # noqa: N801
    """What is hidden, by principal's id; and for whom it was asked."""

    def __init__(self) -> None:
        self.hides: dict[str, Mapping[str, Collection[str]]] = {}

    async def hidden(self, principal: Principal, manifests: Sequence[Manifest]) -> Mapping[str, Collection[str]]:
        listed = {manifest.hand for manifest in manifests}
        return {hand: names for hand, names in self.hides.get(principal.id, {}).items() if hand in listed}

    seen = hidden


class testing_only_Gateway:  # noqa: N801
    """Everything the web layer asks of a gateway. ``started`` and ``closed`` count its life."""

    def __init__(self, *, limits: Mapping[str, Any] | None = None, **server: Any) -> None:
        self.settings = Settings(
            server={"port": 0, **server}, limits=limits or {}, log={"origin": testing_only_Log.origin}
        )
        self.log = testing_only_Log()
        self.directory = testing_only_Directory()
        self.pipeline = testing_only_Pipeline()
        self.keyset = testing_only_Keyset()
        self.key_changes = KeyChanges(self.log)  # type: ignore[arg-type]
        self.key_history = testing_only_KeyHistory()
        self.epochs = testing_only_Epochs()
        self.hands = testing_only_Hands()
        self.secrets = testing_only_Secrets()
        self.connections = testing_only_Connections()
        self.approvals = testing_only_Approvals()
        self.claims = self.results = testing_only_Claims()
        self.known_calls = self.client_calls = self.client_reports = self.hooks = testing_only_ClientSteps()
        self.lifecycle = testing_only_Lifecycle()
        self.pulling = testing_only_Pulling()
        self.proposals = testing_only_Proposals()
        self.trust_changes = TrustChanges(self.directory)  # type: ignore[arg-type]
        self.evidence = testing_only_Evidence()
        self.exports = testing_only_Exports()
        self.policy = testing_only_Policy()
        self.rollout = testing_only_Rollout()
        self.freezing = testing_only_Freezing()
        self.dead_letters = testing_only_DeadLetters()
        self.undelivered = testing_only_Undelivered()
        self.runs = testing_only_Runs()
        self.menus = testing_only_Menus()
        self.managed_agents = testing_only_ManagedAgents()
        self.reader = self.log.reader
        self.witnesses = Witnesses(self.settings.log, self.log, self.log.cosigned, ())  # type: ignore[arg-type]
        self.privacy = testing_only_Privacy()
        self.metrics = Metrics()
        self.drain = Drain()
        self.clock = time.time
        self.started = 0
        self.closed = 0
        self.readiness = {"log": "ok", "policy": "ok", "keys": "ok"}

    async def start(self) -> None:
        self.started += 1

    async def close(self) -> None:
        self.closed += 1

    async def finish(self) -> None:
        return None

    async def ready(self) -> dict[str, str]:
        return self.readiness

    def notices(self) -> dict[str, str]:
        found = {} if self.policy.problem is None else {"policy": "policy.bundle"}
        return {**found, "stop": "gateway.draining"} if self.drain.announced else found

    def trust(self) -> dict[str, Any]:
        return {"v": 1, "origin": self.log.origin, "jwks": {"keys": []}, "log": []}
