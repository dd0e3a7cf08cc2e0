"""``handrail plan``: sign, submit and show plans; save their receipts."""

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail import HandrailProblem, MalformedError, Plan, Signer, SigningKey
from handrail.plan import LIFETIME_MAX_SECONDS
from handrail.strict import parse

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop, unreadable
from gateway.cli.hands import instead_of
from gateway.cli.hints import HINTS
from gateway.cli.output import Output, said_facts
from gateway.cli.saving import Force, make_directory, save
from gateway.files import TooLarge, bounded, read_bounded
from gateway.reasons import Reason

app = noun("plan")

WAIT_MAX_SECONDS: Final = 600
"""More than any gateway can be told to honour ([server] wait_max_seconds)."""
_INPUT_MAX_BYTES: Final = 16_777_216
_GOOD: Final = frozenset({"succeeded", "released"})
_BESIDE: Final = "| "
"""Before each line of a result's own text, so that none of it passes for words of this program."""
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


@command(app, example="plan sign --as agent plan.json", good="the signed plan was printed")
def sign(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="PLAN.json|-", help="The unsigned plan.", show_default=False)],
    key: Annotated[Path | None, typer.Option(help="Private JWK of the issuer.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Issuer id registered with the gateway.")] = None,
    audience: Annotated[str | None, typer.Option(help="The gateway's log origin. Default: asked of it.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Default: the caller's, asked of the gateway.")] = None,
    subject: Annotated[str | None, typer.Option(help="Whom the plan acts for. Default: the caller.")] = None,
    lifetime: Annotated[
        int, typer.Option(min=1, max=LIFETIME_MAX_SECONDS, help="Seconds in which it may be accepted.")
    ] = LIFETIME_MAX_SECONDS,
) -> None:
    """Sign a plan and print it as a compact JWS; with --audience, --tenant and --subject no gateway is asked."""
    key_file, issuer_id = key or session.connection.key_file, issuer or session.connection.issuer
    if key_file is None or issuer_id is None:
        missing = "--key" if key_file is None else "--issuer"
        raise Stop(f"{missing} is missing", "Make a key with 'handrail keys new', register it: 'handrail issuers add'.")
    try:
        plan = Plan.from_document(parse(_read(file)))
    except MalformedError as exc:
        raise Stop(f"{file}: {exc}", "A plan is one strict JSON object; see docs/concepts.md.") from None
    signing_key = SigningKey.load(key_file)
    if tenant is None or subject is None:
        caller = session.client.me()
        tenant, subject = tenant or str(caller.get("tenant")), subject or str(caller.get("id"))
    if audience is None:
        audience = str(session.client.trust().get("origin"))
    token = Signer(issuer_id, signing_key, audience, tenant, subject).sign(plan, lifetime_seconds=lifetime)
    session.out.show({"jws": token}, lambda: session.out.raw(token))


@command(
    app,
    example="plan submit plan.jws --wait 10",
    good="every step succeeded",
    negative="some did not",
    waiting="not done yet",
)
def submit(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A signed plan.", show_default=False)],
    wait: Annotated[float, typer.Option(min=0, max=WAIT_MAX_SECONDS, help="Seconds to wait for it to be done.")] = 0.0,
) -> Exit:
    """Submit a signed plan."""
    try:
        token = _read(file).decode("ascii").strip()
    except UnicodeDecodeError:
        raise Stop(f"{file}: not a compact JWS", "Sign a plan first: handrail plan sign PLAN.json") from None
    try:
        view = session.client.submit(token, wait=wait or None)
    except HandrailProblem as exc:
        if exc.code == Reason.VERIFY_REPLAYED:
            # A plan's id is the hash of its bytes, so whoever lost the answer can still look.
            exc.facts["plan_id"] = hashlib.sha256(token.encode("ascii")).hexdigest()
        raise
    session.out.show(view, lambda: _show(session, view))
    return verdict(view)


@command(app, example="plan show PLAN_ID", good="every step succeeded", negative="some did not", waiting="not done yet")
def show(
    session: Session, plan_id: Annotated[str, typer.Argument(metavar="ID", help="As 'plan submit' shows it.")]
) -> Exit:
    """Show a plan and its steps."""
    view = session.client.plan(plan_id)
    session.out.show(view, lambda: _show(session, view))
    return verdict(view)


@command(app, example="plan receipts PLAN_ID --out receipts", good="every receipt was saved")
def receipts(
    session: Session,
    plan_id: Annotated[str, typer.Argument(metavar="ID", help="As 'plan submit' shows it.")],
    out: Annotated[Path, typer.Option(help="Directory for the receipt files, made if need be.")],
    force: Force = False,
) -> None:
    """Save every receipt of a plan as a file for 'handrail verify' (mode 0600: they hold args and results)."""
    files: list[str] = []
    for bundle in session.client.receipts(plan_id):
        name = bundle.get("receipt_id")
        # The name comes from the gateway and becomes a path here.
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise Stop("the gateway named a receipt in a way that is no file name", "Tell its operator.", Exit.NEGATIVE)
        target = out / f"{name}.json"
        make_directory(out)
        save(target, json.dumps(bundle), force=force, private=True)
        files.append(str(target))
    document = {"plan_id": plan_id, "files": files}
    session.out.show(document, lambda: session.out.table(["receipt file"], ([file] for file in files), "No receipts."))


def verdict(view: Mapping[str, Any]) -> Exit:
    """What a plan's state is to a shell."""
    if view.get("status") != "done":
        return Exit.WAITING
    return Exit.GOOD if all(step.get("status") in _GOOD for step in view.get("steps", [])) else Exit.NEGATIVE


def _show(session: Session, view: Mapping[str, Any]) -> None:
    show_plan(session.out, view)
    unknown = {
        str(step.get("hand"))
        for step in view.get("steps", [])
        if (step.get("error") or {}).get("code") == Reason.SCHEMA_UNKNOWN_HAND
    }
    if unknown:
        session.out.note(instead_of(session, unknown) or HINTS[Reason.SCHEMA_UNKNOWN_HAND])


def show_plan(out: Output, view: Mapping[str, Any]) -> None:
    """A plan for people: what was decided, what happened, why, and what to do next."""
    out.facts([(name, view.get(name)) for name in ("plan_id", "context_id", "status", "log_index")])
    out.line("")
    out.table(
        ["step", "hand", "action", "decision", "status", "why"],
        (
            [
                step.get("id"),
                step.get("hand"),
                step.get("action"),
                (step.get("decision") or {}).get("effect", ""),
                step.get("status"),
                _reasons(step),
            ]
            for step in view.get("steps", [])
        ),
    )
    for step in view.get("steps", []):
        if step.get("result") is not None:
            out.section(f"result of {step.get('id')}:", style="bold")
            _show_marks(out, step.get("result_marks") or {})
            _show_result(out, step["result"])
    waiting = [step.get("approval_id") for step in view.get("steps", []) if step.get("status") == "held"]
    for approval_id in filter(None, waiting):
        out.note(f"An approver can answer it: handrail approvals approve {approval_id}")


def _reasons(step: Mapping[str, Any]) -> str:
    reasons = (step.get("decision") or {}).get("reasons") or []
    lines = [f"{reason.get('code')}: {reason.get('message') or ''}".rstrip(": ") for reason in reasons]
    error = step.get("error")
    if isinstance(error, dict):
        facts = said_facts({name: value for name, value in error.items() if name not in {"code", "text"}})
        lines.append(f"{error.get('code')}: {error.get('text')}{f' ({facts})' if facts else ''}")
    return "\n".join(lines)


def _show_marks(out: Output, marks: Mapping[str, Any]) -> None:
    """What is to be known of a result before it is read."""
    trust = marks.get("trust") or {}
    out.facts(
        [
            ("trusted", [name for name, words in trust.items() if words and set(_words(words)) == {"trusted"}]),
            ("personal data", _counted(marks.get("personal_data"))),
            ("taken out", _counted(marks.get("personal_data_redacted"))),
            ("cut", _cut(marks.get("truncated"))),
        ]
    )


def _cut(truncated: Mapping[str, Any] | None) -> str:
    if truncated is None:
        return ""
    left_out = truncated.get("left_out_bytes")
    return "the rest was not read" if left_out is None else f"{left_out} bytes left out"


def _words(trust: Any) -> Iterable[Any]:
    return trust if isinstance(trust, list) else [trust]


def _counted(kinds: Mapping[str, int] | None) -> str:
    return ", ".join(f"{kind} {number}" for kind, number in (kinds or {}).items())


def _show_result(out: Output, result: Mapping[str, Any]) -> None:
    if result.get("structured") is not None:
        out.block(result["structured"])
        return
    for block in result.get("content") or []:
        if isinstance(block, dict) and block.get("type") == "text":
            for line in str(block.get("text")).splitlines():
                out.line(f"{_BESIDE}{line}")
        else:
            out.block(block)


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return bounded(sys.stdin.buffer, _INPUT_MAX_BYTES, file)
        return read_bounded(Path(file), _INPUT_MAX_BYTES, regular=False)
    except TooLarge as exc:
        raise Stop(f"{file}: {exc.strerror}", "A plan is much smaller: check the file's name.") from None
    except OSError as exc:
        raise unreadable(file, exc) from None
