"""The demonstration itself: each scene asks the gateway for something and shows what was decided and why."""

import shlex
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from handrail import HandrailProblem, Plan, Signer, Trust, VerificationError, sign_answer, verify_receipt
from sqlalchemy import make_url

from audit import fsck
from audit.checkpoint import VerifierKey
from audit.database import make_engine
from gateway.cli.demo.cast import APPROVER, Cast
from gateway.cli.demo.ground import Ground, program
from gateway.cli.exits import Stop
from gateway.cli.output import Output
from gateway.cli.saving import save_json

WAIT_SECONDS: Final = 30.0
REPO: Final = "/repo"
"""Where the jail sees the clone."""
CONTEXT: Final = "demonstration"


@dataclass(slots=True)
class Stage:
    """What the scenes share.

    Attributes:
        ask: shows the exact call to the person at the terminal and returns ``approve`` or ``refuse``.
        surprises: what did not go as the scene says it must; empty at the end of a good demonstration.
    """

    out: Output
    ground: Ground
    cast: Cast
    trust: dict[str, Any]
    ask: Callable[[dict[str, Any]], Literal["approve", "refuse"]]
    surprises: list[str] = field(default_factory=list)
    _signer: Signer | None = None

    @property
    def signer(self) -> Signer:
        """The agent's signer."""
        if self._signer is None:
            agent = self.cast.agent
            if agent.key is None:
                raise Stop("the agent has no key", f"Remove {self.ground.home} to begin anew.")
            self._signer = Signer(agent.name, agent.key, self.trust["origin"], "default", agent.name)
        return self._signer

    def submit(self, plan: Plan) -> dict[str, Any]:
        """Sign and submit as the agent; wait until the plan is done or waits for a person."""
        return dict(self.cast.agent.client.submit(self.signer.sign(plan), wait=WAIT_SECONDS))

    def expect(self, what: str, *, holds: bool) -> None:
        """Note a surprise unless ``holds``."""
        if not holds:
            self.surprises.append(what)
            self.out.line(f"  unexpected: {what}", "bold red")

    def title(self, text: str) -> None:
        """Announce a scene."""
        self.out.line("")
        self.out.line(text, "bold")

    def show(self, view: dict[str, Any]) -> None:
        """One row a step: what was asked, what was decided, why, and what came of it."""
        rows = [
            (
                step["id"],
                f"{step['hand']}.{step['action']}",
                (step["decision"] or {}).get("effect", "deny"),
                step["status"],
                _why(step),
                _outcome(step),
            )
            for step in view["steps"]
        ]
        self.out.table(("step", "call", "decided", "status", "why", "what came back"), rows)


def play(stage: Stage) -> None:
    """Every scene, in order."""
    plans = [reads(stage), earlier_result(stage), malformed(stage), outside(stage)]
    plans.append(commit(stage))
    receipts(stage, plans)
    tamper(stage)


def reads(stage: Stage) -> dict[str, Any]:
    """Two reads that do not depend on each other."""
    stage.title("1  Two independent reads, in parallel, on two jailed MCP servers")
    plan = Plan(CONTEXT, purpose="look around")
    plan.step("git", "git_status", {"repo_path": REPO}, id="status")
    plan.step("time", "get_current_time", {"timezone": "Europe/Berlin"}, id="now")
    view = stage.submit(plan)
    stage.show(view)
    stage.expect("both reads succeed", holds=_statuses(view) == ["succeeded", "succeeded"])
    return view


def earlier_result(stage: Stage) -> dict[str, Any]:
    """A step whose argument is an earlier step's result: judged again once it is known."""
    stage.title("2  A step that uses an earlier step's result (judged when the value is known)")
    plan = Plan(CONTEXT, purpose="what happened so far")
    now = plan.step("time", "get_current_time", {"timezone": "UTC"}, id="now")
    arguments = {"repo_path": REPO, "max_count": 2, "end_timestamp": now.result("/structured/datetime")}
    plan.step("git", "git_log", arguments, id="log")
    view = stage.submit(plan)
    stage.show(view)
    stage.expect("the dependent step succeeds", holds=_statuses(view) == ["succeeded", "succeeded"])
    return view


def malformed(stage: Stage) -> dict[str, Any]:
    """An argument of the wrong type."""
    stage.title("3  A malformed argument: refused by the pinned schema")
    plan = Plan(CONTEXT)
    plan.step("git", "git_log", {"repo_path": REPO, "max_count": "all of it"}, id="log")
    view = stage.submit(plan)
    stage.show(view)
    stage.expect("the schema refuses it", holds=_error(view) == "schema.args")
    return view


def outside(stage: Stage) -> dict[str, Any]:
    """A write outside of the clone."""
    stage.title("4  A write outside of the clone: denied by policy")
    plan = Plan(CONTEXT)
    plan.step("git", "git_commit", {"repo_path": "/etc", "message": "not here"}, id="commit")
    view = stage.submit(plan)
    stage.show(view)
    stage.expect("policy denies it", holds=_error(view) == "policy.denied")
    return view


def commit(stage: Stage) -> dict[str, Any]:
    """A commit that waits for a person, and the same approval tried on another call."""
    stage.title("5  A commit: held until a person approves exactly this call")
    view = stage.submit(_commit_plan("Record the demonstration"))
    stage.show(view)
    stage.expect("the commit is held", holds=_statuses(view) == ["held"])
    approver = stage.cast.approver
    if approver.key is None or "approval_id" not in view["steps"][0]:
        return view
    request: dict[str, Any] = dict(approver.client.approval(view["steps"][0]["approval_id"]))
    answer = stage.ask(request)
    signed = sign_answer(
        request,
        answer,
        key=approver.key,
        approver=APPROVER,
        audience=stage.trust["origin"],
    )
    approver.client.answer_signed(request["id"], signed)
    view = _follow(stage, view["plan_id"])
    stage.show(view)
    expected = "succeeded" if answer == "approve" else "denied"
    stage.expect(f"the commit is {expected}", holds=_statuses(view) == [expected])

    stage.title("6  The same approval for the same call with one byte changed: refused")
    other = stage.submit(_commit_plan("Record the demonstratioN"))
    second = other["steps"][0].get("approval_id", "")
    try:
        approver.client.answer_signed(second, signed)
    except HandrailProblem as problem:
        code, text = problem.code, problem.detail
    else:
        code, text = "accepted", ""
    stage.out.table(("approval", "answer", "why"), [(second[:12], code, text)])
    stage.expect("the approval does not fit", holds=code == "approval.mismatch")
    approver.client.refuse(second, approver.key)
    return view


def receipts(stage: Stage, views: list[dict[str, Any]]) -> None:
    """Every receipt, verified from files alone."""
    stage.title("7  Every receipt, verified offline against the Merkle log")
    folder = stage.ground.home / "demo" / "receipts"
    folder.mkdir(parents=True, exist_ok=True)
    trust_file = folder / "trust.json"
    save_json(trust_file, stage.trust, force=True, private=False)
    trust = Trust.load(trust_file)
    rows = []
    for view in views:
        for receipt in stage.cast.agent.client.receipts(view["plan_id"]):
            file = folder / f"{receipt['receipt_id'][:24].replace('/', '_')}.receipt.json"
            save_json(file, receipt, force=True, private=True)
            try:
                report = verify_receipt(file.read_bytes(), trust)
            except VerificationError as error:
                rows.append((file.name, "", "", f"DOES NOT HOLD: {error}"))
                stage.expect(f"{file.name} verifies", holds=False)
            else:
                place = f"entry {report.log_index} of {report.tree_size}"
                rows.append((file.name, f"{report.hand}.{report.action}", report.status, f"holds, {place}"))
    stage.out.table(("file", "call", "status", "verdict"), rows)
    stage.expect("there are receipts", holds=bool(rows))
    files = f"--trust {shlex.quote(str(trust_file))} {shlex.quote(str(folder))}/*.receipt.json"
    stage.out.line(f"   Again, yourself: {program()} verify {files}")


def tamper(stage: Stage) -> None:
    """One byte flipped in a copy of the log."""
    stage.title("8  One byte flipped in a copy of the log: found and named")
    url = make_url(stage.ground.settings.database_url)
    if url.get_backend_name() != "sqlite" or url.database is None:
        stage.out.line("   (the demonstration copies SQLite logs only)")
        return
    copy = stage.ground.home / "demo" / "tampered.db"
    copy.unlink(missing_ok=True)
    index = _flip_a_byte(Path(url.database), copy)
    engine = make_engine(f"sqlite:///{copy}")
    try:
        keys = [VerifierKey.parse(text) for text in stage.trust["log"]]
        findings = list(fsck.check(engine, keys=keys))
    finally:
        engine.dispose()
    stage.out.table(
        ("entry", "fault", "what is wrong"),
        [(finding.first, str(finding.fault), finding.detail) for finding in findings[:4]],
        empty="Nothing was found.",
    )
    stage.expect(f"entry {index} is named", holds=any(finding.first == index for finding in findings))
    stage.out.line(f"   (byte flipped in entry {index} of {copy})")


def _flip_a_byte(source: Path, copy: Path) -> int:
    """Copy the live log, take the copy's defences away as an administrator could, and change one byte."""
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as live, sqlite3.connect(copy) as victim:
        live.backup(victim)
        triggers = victim.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            victim.execute(f'DROP TRIGGER "{name}"')
        index, body = victim.execute("SELECT idx, body FROM entries ORDER BY idx LIMIT 1 OFFSET 3").fetchone()
        changed = bytearray(body if isinstance(body, bytes) else body.encode())
        changed[len(changed) // 2] ^= 0x01
        victim.execute("UPDATE entries SET body = ? WHERE idx = ?", (bytes(changed), index))
        victim.commit()
    return int(index)


def _commit_plan(message: str) -> Plan:
    plan = Plan(CONTEXT, purpose="commit what was staged")
    plan.step("git", "git_commit", {"repo_path": REPO, "message": message}, id="commit")
    return plan


def _follow(stage: Stage, plan_id: str) -> dict[str, Any]:
    for event in stage.cast.agent.client.follow(plan_id):
        if event["event"] == "done":
            break
    return dict(stage.cast.agent.client.plan(plan_id))


def _statuses(view: dict[str, Any]) -> list[str]:
    return [step["status"] for step in view["steps"]]


def _error(view: dict[str, Any]) -> str:
    return str(view["steps"][0].get("error", {}).get("code", ""))


def _why(step: dict[str, Any]) -> str:
    reasons = (step["decision"] or {}).get("reasons", [])
    said = "; ".join(reason["message"] or reason["code"] for reason in reasons)
    error = step.get("error")
    if error is None:
        return said
    where = ", ".join(problem["pointer"] for problem in error.get("problems", []))
    return said or (f"{error['code']} at {where}" if where else f"{error['code']}: {error['text']}")


def _outcome(step: dict[str, Any]) -> str:
    for block in step.get("result", {}).get("content", []):
        if block.get("type") == "text":
            line = " ".join(str(block["text"]).split())
            return line if len(line) <= 60 else line[:57] + "..."
    return ""
