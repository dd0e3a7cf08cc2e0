"""A small gateway in the documented shapes, on a real socket, for tests of the client and the command line.

It decides nothing: what a step's action is called says what happens to it. Answers can be replaced one by one with
:meth:`StandIn.next`, to play proxies, liars and broken connections.
"""

import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

import rfc8785
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.client.receipt_forge import ORIGIN, Forge
from tests.controls import found

BEFORE = "2027-01-15T08:00:01.000Z"
AFTER = "2027-01-15T08:00:02.000Z"
NOW = "2027-01-15T08:00:09.000Z"
TOKENS = {"hr_0000000000000000_agent": "alice", "hr_0000000000000001_admin": "root"}
TOKEN = next(iter(TOKENS))
HOSTILE = "\x1b[2Jrm -rf \u202e/gpj.exe\u2066 \x9b31m\r\n[bold red]x[/]\u200b"
DIGEST = "ab" * 32
Handler = Callable[[Request], Response]

_AGENT_SESSION: Final = {
    "connector": "cloud",
    "session_id": "sesn_1",
    "agent_id": "agent_1",
    "context_id": "agents-1",
    "state": "following",
    "adopted_at": "2026-11-21T02:00:00.000Z",
    "on_behalf_of": "bot",
}
_MANAGED_AGENT: Final = {
    "connector": "cloud",
    "agent_id": "agent_1",
    "name": "one",
    "version": 1,
    "governed": True,
    "policies": [
        {"toolset": "toolset", "tool": "*", "policy": "always_ask", "needed": "always_ask", "hand": None},
        {"toolset": "toolset", "tool": "bash", "policy": "always_ask", "needed": "always_ask", "hand": "claude"},
    ],
    "custom_tools": [{"tool": "crm__read", "hand": "crm", "action": "read"}],
    "hands_work_to": ["agent_2"],
    "unknown": [],
}


def problem(code: str, status: int, **facts: Any) -> Response:
    body = {"type": f"urn:handrail:reason:{code}", "title": code, "status": status, "detail": f"Text of {code}.",
            "code": code, "request_id": "req-1", **facts}  # fmt: skip
    return Response(json.dumps(body), status, media_type="application/problem+json")


COMPARISON = {
    "candidate": "ab" * 32, "decisions": 3, "unchanged": 2, "faults": {"policy.timeout": 1}, "not_comparable": 0,
    "shed": 4,
    "recent": {"sample": 3, "denied": 1, "denied_active": 0, "errors": 0, "errors_active": 0},
    "kinds": {"newly_denied": 1, "newly_allowed": 0, "newly_asked": 0, "obligations_changed": 0, "reasons_changed": 0},
    "rules": {"newly_denied": {"a.b": 1}},
    "groups": [{
        "kind": "newly_denied", "hand": "git", "action": "log", "was": {"effect": "allow", "reasons": []},
        "now": {"effect": "deny", "reasons": ["a.b"]}, "count": 1,
        "examples": [{"plan_id": "0" * 64, "step_id": "s"}],
    }],
    "not_grouped": {},
}  # fmt: skip
SHADOW = {
    "number": 1,
    "digest": "ab" * 32,
    "by": "ann",
    "since": BEFORE,
    "until": AFTER,
    "in_force": True,
    "problem": None,
}
CANARY = {
    "proposal": "0" * 32, "digest": "ab" * 32, "active": "cd" * 32, "percent": 5, "since": BEFORE, "until": AFTER,
    "in_force": True, "stopped": None, "problem": None,
}  # fmt: skip


class StandIn:
    """State of the stand-in, for tests to read and bend.

    Attributes:
        seen: (method, path with query, headers, body) of every request.
        always: answers every request, where it is set.
        text: what tools and people "said": in descriptions, messages and results.
    """

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Forget everything, for the next test."""
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.text = "plain"
        self.plans: dict[str, dict[str, Any]] = {}
        self.answers: list[Any] = []
        self.events: list[list[tuple[str, str, dict[str, Any]] | str]] = []
        self.shown_args: dict[str, Any] | None = None
        self.after_answer = "granted"
        self.hand_state = "unpinned"
        self.never_pinned = False
        self.approval_kid: str | None = None
        self.proposal_kind = "policy.activate"
        self.proposal_status = "open"
        self.evaluations: list[dict[str, Any]] = []
        self.forge = Forge()
        self.always: Handler | None = None
        self._next: dict[tuple[str, str], list[Handler]] = {}

    def next(self, method: str, path: str, handler: Handler) -> None:
        """Answer the next such request with ``handler``."""
        self._next.setdefault((method, path), []).append(handler)

    def step(self, action: dict[str, Any]) -> dict[str, Any]:
        status = {"hold": "held", "deny": "denied", "break": "failed", "slow": "running"}.get(
            action["action"], "succeeded"
        )
        effect = {"held": "ask", "denied": "deny"}.get(status, "allow")
        step = {
            "id": action["id"],
            "hand": action["hand"],
            "action": action["action"],
            "status": status,
            "decision": {
                "effect": effect,
                "reasons": [{"code": "git.rule", "message": self.text}],
                "policy_digest": DIGEST,
            },
            "log_index": 4,
        }
        if status == "held":
            step["approval_id"] = "ap-1"
        if status in {"succeeded", "failed"}:
            step |= {"receipt": "x.y.z", "receipt_id": "jti-1"}
            step["result"] = {"content": [{"type": "text", "text": self.text}], "structured": None}
            step["result_marks"] = {
                "trust": {"content": ["untrusted"], "structured": "trusted"},
                "personal_data": {"email": 2},
                "personal_data_redacted": {"card": 1},
            }
        if status == "failed":
            step["error"] = {"code": "hand.failed", "text": "The hand reported an error.", "pointer": "/a"}
        return step

    def approval(self) -> dict[str, Any]:
        args = {"repo_path": "/repo", "message": self.text}
        return {
            "id": "ap-1",
            "status": "open",
            "plan_id": "aa" * 32,
            "step_id": "s1",
            "context_id": "c1",
            "hand": "git",
            "action": "git_commit",
            "args": args if self.shown_args is None else self.shown_args,
            "reasons": [{"code": "git.commit", "message": self.text}],
            "requested_by": "alice",
            "acts_for": "alice",
            "requested_at": "2027-01-15T08:00:00.000Z",
            "expires_at": "2027-01-15T09:00:00.000Z",
            "approver_role": "approver",
            "quorum": 1,
            "enrolled_key": True,
            "side_effects": "reversible",
            "description": self.text,
            "binding": {
                "tenant": "default",
                "plan_id": "aa" * 32,
                "step_id": "s1",
                "hand": "git",
                "action": "git_commit",
                "args_sha256": hashlib.sha256(rfc8785.dumps(args)).hexdigest(),
                "policy_digest": DIGEST,
                "manifest_digest": "cd" * 32,
            },
            "answers": [],
        }

    def remote(self) -> dict[str, Any]:
        """As ``GET /v1/policy/remote`` answers it, with what a remote may have made up."""
        rewritten = {"moved": "back", "before": "b" * 40, "commit": "a" * 40}
        problem = {"code": "policy.source", "detail": self.text, "commit": None}
        return {"url": self.text, "ref": "refs/heads/main", "path": "policy.bundle", "interval_seconds": 60.0,
                "notify": True, "tried_at": AFTER, "good_at": BEFORE, "commit": "a" * 40, "digest": DIGEST,
                "rewritten": rewritten, "problem": problem}  # fmt: skip

    def bundle(self, digest: str) -> dict[str, Any]:
        return {"digest": digest, "commit": "a" * 40, "directory": "policies", "built_at": BEFORE, "signer": self.text,
                "kid": "k", "checks": {"opa": None, "tests": None, "coverage": None}, "added_by": "alice",
                "added_at": BEFORE, "files": [{"path": self.text, "sha256": digest}], "activations": []}  # fmt: skip

    def proposal(self) -> dict[str, Any]:
        document = {"digest": DIGEST, "commit": self.text, "replaces": "cd" * 32}
        shown = document if self.shown_args is None else self.shown_args
        return {
            "id": "0" * 32,
            "kind": self.proposal_kind,
            "tenant": "default",
            "subject": DIGEST,
            "document": shown,
            "document_sha256": hashlib.sha256(rfc8785.dumps(document)).hexdigest(),
            "status": self.proposal_status,
            "proposed_by": "ann",
            "proposed_attested_by": "gateway",
            "proposed_at": "2027-01-15T08:00:00.000Z",
            "expires_at": "2027-01-15T09:00:00.000Z",
        }

    def trust_proposal(self) -> dict[str, Any]:
        """A change of trust; its request is what its document commits to."""
        request, salt = {"id": self.text, "roles": ["operator"]}, bytes(16)
        commitment = hashlib.sha256(salt + rfc8785.dumps(request)).hexdigest()
        document = {
            "change": "principal.add",
            "before": None,
            "after": {"roles": ["operator"], "note": self.text},
            "request": commitment,
        }
        signature = {
            "by": self.text,
            "attested_by": "signer",
            "kid": "k",
            "at": "2027-01-15T08:00:00.000Z",
            "counts": True,
        }
        return {
            **self.proposal(),
            "id": "1" * 32,
            "kind": "trust.principal",
            "document": document,
            "document_sha256": hashlib.sha256(rfc8785.dumps(document)).hexdigest(),
            "needed": 2,
            "signatures": [signature],
            "request": request,
            "request_salt": salt.hex(),
        }

    # --- routes ------------------------------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        path = request.scope["path"]
        self.seen.append(
            (request.method, path + (f"?{request.url.query}" if request.url.query else ""), dict(request.headers), body)
        )
        queued = self._next.get((request.method, path))
        if queued:
            return queued.pop(0)(request)
        if self.always is not None:
            return self.always(request)
        if path == "/readyz":
            return JSONResponse({"status": "degraded", "checks": {"log": "ok"}}, 503)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return problem("auth.missing", 401)
        if token not in TOKENS:
            return problem("auth.invalid", 401)
        parts = [unquote(part) for part in request.scope["raw_path"].decode().split("/")[2:]]
        return self._answer(request.method, parts, request, body, TOKENS[token])

    def _answer(  # noqa: C901, PLR0912 - one line per route
        self, method: str, parts: list[str], request: Request, body: bytes, caller: str
    ) -> Response:
        match (method, *parts):
            case ("POST", "plans"):
                return self._submit(request, body)
            case ("GET", "plans", plan_id) if plan_id in self.plans:
                return JSONResponse(self.plans[plan_id])
            case ("GET", "plans", _, "events"):
                return StreamingResponse(self._stream(), media_type="text/event-stream")
            case ("GET", "plans", plan_id, "steps", step_id, "why"):
                return JSONResponse(
                    {
                        "plan_id": plan_id,
                        "step_id": step_id,
                        "decision": {"effect": "deny", "reasons": [], "policy_digest": DIGEST},
                        "reasons": [
                            {"code": "paths.outside", "message": self.text, "file": "paths/rule.rego", "line": 12,
                             "rule": "deny", "title": "Paths stay inside"}
                        ],
                        "input": {"v": 1, "text": self.text},
                    }
                )  # fmt: skip
            case ("GET", "managed-agents", "sessions"):
                return JSONResponse({"sessions": [_AGENT_SESSION]})
            case ("GET", "managed-agents", _, "sessions", _):
                use = {"event_id": "sevt_1", "plan_id": "aa" * 32, "state": "answered", "verdict": "allow"}
                detail = {"problem": None, "unreadable": ["sevt_9"], "tool_uses": [{**use, "reported": True}]}
                return JSONResponse({**_AGENT_SESSION, **detail})
            case ("POST", "managed-agents", _, "sessions", *_):
                return JSONResponse(_AGENT_SESSION)
            case ("GET", "managed-agents", _, "agents", _) | ("POST", "managed-agents", _, "agents", _, "adopt"):
                return JSONResponse(_MANAGED_AGENT)
            case ("GET", "dead-letters"):
                return JSONResponse({"dead_letters": [self._dead_letter()], "next": 3})
            case ("POST", "plans", plan_id, "steps", step_id, "discard"):
                return JSONResponse({"plan_id": plan_id, "step_id": step_id, "verdict": "discarded"})
            case ("POST", "plans", _, "steps", step_id, "retry"):
                tried = self.step({"id": step_id, "hand": "git", "action": "log"})
                return JSONResponse({"plan_id": "cc" * 32, "context_id": "c1", "status": "done", "steps": [tried]})
            case ("GET", "receipts", _):
                bundle = self.forge.file()
                del bundle["proof"]
                return JSONResponse(bundle)
            case ("GET", "receipts", _, "proof"):
                return PlainTextResponse(self.forge.proof())
            case ("GET", "approvals"):
                return JSONResponse({"approvals": [self.approval()]})
            case ("GET", "approvals", _, "answers"):
                return JSONResponse({"approval_id": "ap-1", "answers": [{"v": 1, "attested_by": "gateway"}]})
            case ("GET", "approvals", _):
                return JSONResponse(self.approval())
            case ("POST", "approvals", _):
                if request.headers["content-type"] == "application/jose":
                    payload = body.split(b".")[1]
                    self.answers.append(json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))))
                else:
                    self.answers.append(json.loads(body))
                return JSONResponse({**self.approval(), "status": self.after_answer})
            case ("GET", "me"):
                me = {"id": caller, "tenant": "default", "roles": ["agent", "operator"], "hands": None}
                return JSONResponse({**me, "approval_kid": self.approval_kid})
            case ("GET", "trust"):
                return JSONResponse(self.forge.trust())
        return self._admin(method, parts, body, caller)

    def hold(self) -> dict[str, Any]:
        return {"hold_id": "h1", "person": self.text, "code": "legal_claim", "set_at": BEFORE, "set_by": "p-1",
                "until": None, "in_force": True}  # fmt: skip

    def _admin(  # noqa: C901, PLR0912 - one line per route
        self, method: str, parts: list[str], body: bytes, caller: str
    ) -> Response:
        principal = {"id": "p", "tenant": "default", "roles": ["agent"], "hands": None, "created_at": BEFORE,
                     "revoked_at": None, "approval_kid": None}  # fmt: skip
        issuer = {"id": "agent", "tenant": "default", "keys": [{"kid": "k1", "not_before": BEFORE, "not_after": None,
                  "revoked_at": None}], "speaks_for": [], "attests_request": False, "revoked_at": None}  # fmt: skip
        key = {"kid": "k1", "purpose": "receipt", "state": "active", "created_at": BEFORE}
        hand = {"id": "git", "adapter": "mcp", "state": self.hand_state, "trust": "untrusted", "region": None,
                "problem": self.text, "offered_digest": DIGEST, "pinned_digest": "00" * 32,
                "actions": [{"name": "git_status", "description": self.text, "side_effects": "none",
                             "idempotent": True, "args_schema": {}}],
                "diff": [{"path": "/actions/git_status/description", "pinned": "old", "offered": self.text},
                         {"path": "/instructions", "offered": self.text}],
                "manifest": {"instructions": self.text, "options": {"note": self.text},
                             "jail": {"command": ["tool", self.text], "profile": "default", "env": {"A": self.text},
                                      "binds": {"/data": {"source": "/srv/a", "writable": True}}},
                             "actions": {"git_status": {"description": self.text, "idempotent": False,
                                                        "annotations": {"readOnlyHint": self.text}}}},
                }  # fmt: skip
        if self.never_pinned:
            hand |= {"pinned_digest": None, "diff": []}
        entry = {**self.forge.entry, "reasons": [self.text]}
        match (method, *parts):
            case ("GET", "principals"):
                return JSONResponse({"principals": [principal]})
            case ("POST", "principals"):
                asked = json.loads(body)
                api_key = {"key_id": "0" * 16, "token": "hr_0000000000000002_new", "expires_at": AFTER}
                return JSONResponse({"principal": {**principal, **asked}, "api_key": api_key}, 201)
            case ("POST", "principals", _, "name"):
                return JSONResponse({**principal, **json.loads(body)})
            case ("POST", "principals", _, "keys"):
                return JSONResponse({"key_id": "0" * 16, "token": "hr_0000000000000002_new", "expires_at": AFTER}, 201)
            case ("POST", "principals", _, "enrolments"):
                return JSONResponse({"ticket": "hre_x.y", "expires_at": AFTER}, 201)
            case ("GET", "principals", _, "links"):
                return JSONResponse({"links": [self._link()]})
            case ("POST" | "DELETE", "principals", _, "links" | "certificates", *_):
                return JSONResponse(self._link())
            case ("GET" | "DELETE", "principals", _, "security-keys", *_):
                jwk = {"kty": "EC", "crv": "P-256", "x": self.text, "y": "A"}
                return JSONResponse({"security_keys": [{"kid": "k", "jwk": jwk, "rp_id": self.text, "sign_count": 1}]})
            case ("POST", "privacy", "access"):
                return JSONResponse({"about": {"person": self.text}, "values": [], "entries": [], "end": {}})
            case ("POST", "privacy", "preview"):
                return JSONResponse({"keys": 1, "values": 2, "shared": 1, "rows": {self.text: 1}, "acts": 0,
                                     "principal": False, "plans_under_way": 0, "holds": []})  # fmt: skip
            case (_, "privacy", "erasures", *_):
                return JSONResponse({"erasure_id": self.text, "state": "done", "requested_at": BEFORE,
                                     "requested_index": 1, "keys": 1, "values": 2, "done_at": AFTER,
                                     "done_index": 2})  # fmt: skip
            case ("GET", "privacy", "holds"):
                return JSONResponse({"holds": [self.hold()]})
            case (_, "privacy", "holds", *_):
                return JSONResponse(self.hold())
            case ("GET", "issuers"):
                return JSONResponse({"issuers": [issuer]})
            case ("POST", "issuers"):
                return JSONResponse({**issuer, "id": json.loads(body)["id"]}, 201)
            case ("DELETE", "principals" | "issuers", _):
                return Response(status_code=204)
            case ("GET", "keys"):
                return JSONResponse({"keys": [key], "epochs": [{"epoch": self.text, "state": "active"}], "now": NOW})
            case ("POST", "keys"):
                return JSONResponse({"keys": [key], "asked": json.loads(body)})
            case ("GET", "keys", "history"):
                return JSONResponse({"history": self.forge.history()})
            case ("POST", "keys", _, "rotate" | "revoke"):
                return JSONResponse(key)
            case ("POST", "secrets", "check"):
                told = {
                    **dict.fromkeys(("store", "name", "version"), self.text),
                    "hands": [self.text],
                    "connections": [self.text],
                    "usable": True,
                }
                return JSONResponse({"checks": [told]})
            case ("GET", "secrets"):
                return JSONResponse({"secrets": [self._secret()]})
            case (_, "secrets", *_):
                return JSONResponse(self._secret())
            case ("GET", "principals", _, "connections"):
                return JSONResponse({"connections": [self._connection()]})
            case ("DELETE", "principals", _, "connections", _):
                return JSONResponse({**self._connection(), "revoked": True})
            case ("GET", "connections"):
                return JSONResponse({"connections": [self._connection()]})
            case (_, "connections", _):
                return JSONResponse({**self._connection(), "revoked": True})
            case ("GET", "slo"):
                objective = {"availability": 0.99, "latency_seconds": 1.5, "latency_quantile": 0.95, "window_days": 28}
                measured = {"since": BEFORE, "calls": 4, "faults": 0, "late": 0, "availability": 1.0,
                            "within_latency": 1.0, "budget_left": 1.0, "burn_rate": None}  # fmt: skip
                return JSONResponse({"hands": [{"id": self.text, "objective": objective, "measured": measured}]})
            case ("GET", "hands"):
                return JSONResponse({"hands": [hand]})
            case ("GET", "hands", _):
                return JSONResponse(hand)
            case ("POST", "hands", _, "pin"):
                return JSONResponse({**hand, "state": "pinned", "asked": json.loads(body)})
            case ("GET", "proposals"):
                return JSONResponse({"proposals": [self.proposal()], "next": None})
            case ("GET", "proposals", proposal_id):
                return JSONResponse(self.trust_proposal() if proposal_id == "1" * 32 else self.proposal())
            case ("POST", "proposals", _, "sign"):
                self.answers.append(json.loads(body))
                return JSONResponse({**self.trust_proposal(), "status": "activated"})
            case ("POST", "proposals", *rest):
                asked = json.loads(body)
                self.answers.append(asked)
                status = {"activate": "activated", "withdraw": "withdrawn"}.get(rest[-1] if rest else "", "open")
                return JSONResponse({**self.proposal(), **asked, "status": status}, 200 if rest else 201)
            case ("GET", "policy", "rollout"):
                observed = {"hand": "git", "proposal": "0" * 32, "since": BEFORE, "until": AFTER, "note": self.text,
                            "let_go": {"deny": 3, "ask": 1}}  # fmt: skip
                return JSONResponse({"observed": [observed]})
            case ("GET", "policy", "shadow"):
                return JSONResponse({"shadow": SHADOW, "gateways": ["gw-1"], "comparison": COMPARISON})
            case ("DELETE", "policy", "shadow"):
                ended = {**SHADOW, "in_force": False}
                return JSONResponse({"shadow": ended, "gateways": ["gw-1"], "comparison": COMPARISON})
            case ("POST", "policy", "shadow"):
                begun = {**SHADOW, **json.loads(body)}
                return JSONResponse({"shadow": begun, "gateways": [], "comparison": COMPARISON}, 201)
            case ("GET", "policy", "canary"):
                return JSONResponse({"canary": CANARY, "gateways": ["gw-1"], "comparison": COMPARISON})
            case ("GET", "audit", "exports"):
                numbers = {"handrail-tree-size": "9", "handrail-entries": "2"}
                return Response(b"a\nb\n", media_type="application/x-tar", headers=numbers)
            case ("GET", "policy", "evaluations"):
                lines = [json.dumps(line) for line in self.evaluations]
                text = "\n".join([*lines, json.dumps({"next": None, "first": 0, "end": 9, "tree_size": 9}), ""])
                return Response(text, media_type="application/x-ndjson")
            case ("GET", "policy", "bundles"):
                change = {
                    "number": 1,
                    "digest": DIGEST,
                    "way": "activate",
                    "proposal_id": None,
                    "by": "bob",
                    "at": BEFORE,
                }
                older = {**change, "digest": "cd" * 32}
                summary = {"digest": DIGEST, "commit": "a" * 40, "added_by": self.text, "added_at": BEFORE}
                return JSONResponse({"bundles": [summary], "activations": [{**change, "number": 2}, older]})
            case ("GET", "policy", "bundles", digest):
                return JSONResponse(self.bundle(digest))
            case ("GET", "policy", "bundles", _, "file"):
                return Response("a.b.c", media_type="application/jose")
            case ("POST", "policy", "bundles"):
                return JSONResponse(self.bundle(DIGEST), 201)
            case ("GET", "policy", "remote") | ("POST", "policy", "remote", "pull"):
                return JSONResponse(self.remote())
            case ("POST", "policy", "rollback"):
                self.answers.append(json.loads(body))
                digest = json.loads(body)["digest"]
                return JSONResponse({"number": 3, "digest": digest, "way": "rollback", "proposal_id": None,
                                     "by": caller, "at": BEFORE})  # fmt: skip
            case ("GET", "policy"):
                return JSONResponse({"engine": "embedded", "digest": DIGEST, "files": [], "loaded_at": 1.0})
            case ("GET", "checkpoint"):
                return PlainTextResponse(self.forge.checkpoint())
            case ("GET", "log", "witnesses"):
                one = {"name": "w1", "key": self.text, "tree_size": 7, "cosigned_at": "2027-01-15T08:00:00.000Z",
                       "age_seconds": 4, "fault": "forked", "detail": self.text}  # fmt: skip
                return JSONResponse({"quorum": 1, "lag_seconds": 4, "problem": "log.forked", "witnesses": [one]})
            case ("GET", "controls", "report"):
                counts = {"missing": 0, "evidence": 2, "none": 1}
                return JSONResponse({**found.report(self.text), "summary": counts})
            case ("GET", "controls", "access-review"):
                return JSONResponse(found.access(self.text))
            case ("GET", "controls", "processing-record"):
                return JSONResponse(found.processing(self.text))
            case ("GET", "audit", "entries"):
                item = {"index": 4, "code": "STPEXE", "label": "step executed", "entry": {**entry, "time": AFTER}}
                return JSONResponse({"entries": [item], "next": 4, "tree_size": 9, "covers": {"first": 0, "last": 4},
                                     "matches": 1, "checkpoint": None})  # fmt: skip
        return problem("request.not_found", 404)

    def _submit(self, request: Request, body: bytes) -> Response:
        if request.headers.get("content-type") != "application/jose":
            return problem("request.media_type", 415)
        parts = body.split(b".")
        if len(parts) != 3:
            return problem("verify.malformed", 400)
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
        steps = [self.step(action) for action in claims["actions"]]
        states = {step["status"] for step in steps}
        status = "waiting" if "held" in states else "running" if "running" in states else "done"
        view = {"plan_id": "aa" * 32, "context_id": claims["context_id"], "status": status, "log_index": 3,
                "acceptance": "a.b.c", "steps": steps}  # fmt: skip
        self.plans[view["plan_id"]] = view
        return JSONResponse(view, 200 if status == "done" else 202)

    def _dead_letter(self) -> dict[str, Any]:
        return {
            "plan_id": "aa" * 32, "step_id": "s1", "context_id": "c1", "principal": self.text, "hand": "git",
            "action": "log", "status": "ambiguous", "reason": "hand.lost_reply", "ended_at": BEFORE, "age_seconds": 3,
            "log_index": 4, "hand_usable": False, "settled": None,
        }  # fmt: skip

    def _secret(self) -> dict[str, Any]:
        told = {**dict.fromkeys(("name", "store", "version", "set_by"), self.text), "set_at": BEFORE}
        return {**told, "hands": [self.text], "connections": [self.text]}

    def _connection(self) -> dict[str, Any]:
        told = dict.fromkeys(("id", "title", "state", "page"), self.text)
        return {**told, **{name: [self.text] for name in ("scopes", "targets", "hands")}}

    def _link(self) -> dict[str, Any]:
        return {"id": "l1", "kind": "token", "source": self.text, "subject": self.text, "created_at": BEFORE,
                "revoked_at": None}  # fmt: skip

    async def _stream(self) -> AsyncIterator[bytes]:
        """The next scripted connection; the text ``break`` tears it down half-way through a message."""
        for item in self.events.pop(0):
            if isinstance(item, str):
                if item == "break":
                    yield b"id: 99\nevent: step\ndata: {"
                    raise ConnectionResetError
                yield item.encode()
                continue
            number, event, data = item
            yield f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """The URL of ``app`` on loopback, until the end of the block."""
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    if not server.up.wait(30):
        raise RuntimeError("the stand-in did not start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def running() -> Iterator[StandIn]:
    """A stand-in that listens on loopback until the end of the block."""
    stand_in = StandIn()
    routes = [Route("/{path:path}", stand_in.handle, methods=["GET", "POST", "DELETE"])]
    with serving(Starlette(routes=routes)) as stand_in.url:
        yield stand_in


__all__ = ["HOSTILE", "ORIGIN", "TOKEN", "StandIn", "problem", "running", "serving"]
