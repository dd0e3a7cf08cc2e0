"""``handrail policy propose|activate|rollback|list|show``: the bundle that decides, and who had it decide."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.asking import ask_for
from gateway.cli.candidates import Brought, brought, kept, signed_file
from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.hints import HINTS
from gateway.cli.options import Key, Yes
from gateway.cli.output import Output
from gateway.cli.proposals import ProposalId, activate_shown, show_proposal, signing_key
from gateway.cli.saving import Force, refuse_existing, save
from gateway.errors import Refused
from gateway.model import Role
from gateway.permissions import ROLE_PERMISSIONS, Permission
from gateway.policy.activations import Activation, Way, previous
from gateway.reasons import Reason
from gateway.rendering import moment
from gateway.times import parse_time
from gateway.two_person import Kind

app = group()

File = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The file that 'policy build' wrote.")]
Digest = Annotated[str | None, typer.Argument(metavar="DIGEST", help="The bundle, by its whole digest.")]


@command(app, example="policy bring policy.bundle", good="it is kept, and decides nothing")
def bring(session: Session, bundle: File) -> Exit:
    """Bring a signed bundle to the gateway, to be shadowed or tried as a canary."""
    kept = session.client.add_policy_bundle(signed_file(bundle))
    session.out.show(kept, lambda: _show_bundle(session.out, kept))
    return Exit.GOOD


@command(
    app,
    example="policy propose policy.bundle",
    good="",
    waiting="it waits for a second person, who runs: handrail policy activate ID",
)
def propose(
    session: Session,
    bundle: Brought,
    key: Key = None,
) -> Exit:
    """Bring a signed bundle to the gateway and propose that it decide."""
    signing = signing_key(session, key)
    kept = brought(session, bundle)
    digest, commit = str(kept["digest"]), str(kept["commit"])
    document = {"digest": digest, "commit": commit, "replaces": _deciding(session)}
    made = session.client.propose(str(Kind.POLICY_ACTIVATE), document, subject=digest, key=signing)

    def people() -> None:
        show_proposal(session.out, made)
        session.out.line("")
        session.out.line(f"A second person looks at it and runs: handrail policy activate {made.get('id')}")

    session.out.show(made, people)
    return Exit.WAITING


@command(app, example="policy activate ID", good="it decides", negative="it does not decide yet")
def activate(session: Session, proposal_id: ProposalId, key: Key = None, yes: Yes = False) -> Exit:
    """Have a proposed bundle decide; shows what changes and asks for the word 'activate'."""
    shown = session.client.proposal(proposal_id)
    if shown.get("kind") != Kind.POLICY_ACTIVATE:
        raise Stop(f"{proposal_id} proposes no bundle", f"Run: handrail proposals activate {proposal_id}")
    _check_may_activate(session, shown)
    if not session.out.json:
        document = shown.get("document") or {}
        _changes(session, document.get("replaces"), document.get("digest"))
    code = activate_shown(session, shown, key, yes)
    active = session.client.policy()
    if active.get("digest") != shown.get("subject"):
        # It is on record; this gateway tries again at every reload interval.
        session.out.note(f"On record, but this gateway still decides by another: {active.get('problem')}", "yellow")
        return Exit.NEGATIVE
    return code


@command(app, example="policy rollback --yes", good="it decides", negative="there is none to go back to")
def rollback(session: Session, digest: Digest = None, key: Key = None, yes: Yes = False) -> Exit:
    """Go back to a bundle that two people activated before, by default the one before this; one person is enough."""
    signing = signing_key(session, key)
    history = _history(session)
    if not history:
        raise Stop("no bundle was ever activated here", "See 'handrail policy show': the source may be a directory.")
    try:
        chosen = digest or previous(history)
    except Refused as exc:
        raise Stop(exc.text, "See 'handrail policy list', and name the bundle.", Exit.NEGATIVE) from None
    if not session.out.json:
        session.out.facts([("from", history[-1].digest), ("back to", chosen)])
        _changes(session, history[-1].digest, chosen)
    if not yes:
        ask_for("rollback", session.out, to="go back now", unasked="Give --yes to go back.")
    done = session.client.rollback_policy(chosen, replaces=history[-1].digest, key=signing)
    session.out.show(done, lambda: session.out.line(f"{done.get('digest')} decides from now on."))
    return Exit.GOOD


@command(app, "list", example="policy list", good="they were listed")
def list_(session: Session) -> None:
    """List every change of the bundle that decides, and the bundles that are kept, newest first."""
    page = session.client.policy_bundles()

    def people() -> None:
        changes = ([item.get(name) for name in ("number", "digest", "way", "by")] + [moment(item.get("at"))]
                   for item in page["activations"])  # fmt: skip
        session.out.table(["number", "digest", "way", "by", "at"], changes, "No bundle was activated.")
        session.out.line("")
        kept = ([item.get(name) for name in ("digest", "commit", "added_by")] + [moment(item.get("added_at"))]
                for item in page["bundles"])  # fmt: skip
        session.out.table(["bundle", "commit", "brought by", "at"], kept, "No bundle was brought.")

    session.out.show(page, people)


@command(
    app, example="policy show DIGEST --diff", good="it was shown", negative="the bundle that should decide was refused"
)
def show(
    session: Session,
    digest: Digest = None,
    diff: Annotated[bool, typer.Option("--diff", help="What its files change against the one that decides.")] = False,
    file: Annotated[Path | None, typer.Option("--out", help="Save the signed file here.")] = None,
    force: Force = False,
) -> Exit:
    """Show what decides now, or one bundle."""
    if digest is None:
        if diff or file is not None:
            raise Stop("--diff and --out are about one bundle", "Give its digest ('handrail policy list').")
        active = session.client.policy()
        session.out.show(active, lambda: _show_active(session.out, active))
        return Exit.NEGATIVE if active.get("problem") else Exit.GOOD
    found = session.client.policy_bundle(digest)
    if file is not None:
        refuse_existing(file, force=force)
        save(file, session.client.policy_bundle_file(digest), force=force, private=False)
    session.out.show(found, lambda: _show_bundle(session.out, found))
    if diff and not session.out.json:
        _show_diff(session, _deciding(session), digest)
    return Exit.GOOD


def _check_may_activate(session: Session, shown: Mapping[str, Any]) -> None:
    """Whether the gateway would take the caller's word: nobody reads what changes and types a word in vain.

    Raises:
        Stop: with the code that the gateway would refuse with.
    """
    me = session.client.me()
    if not any(Permission.POLICY_ACTIVATE in ROLE_PERMISSIONS[Role(role)] for role in me["roles"]):
        text, reason = f"{me['id']} may not activate policies: an operator does", Reason.AUTH_FORBIDDEN
    elif me["id"] == shown.get("proposed_by"):
        text, reason = f"{me['id']} proposed it, and somebody else has to activate it", Reason.PROPOSAL_SELF
    else:
        return
    raise Stop(text, HINTS[reason], Exit.NEGATIVE, code=reason)


def _deciding(session: Session) -> str | None:
    """The bundle that was activated or gone back to last; what a gateway decides by may be a moment behind."""
    history = _history(session)
    return history[-1].digest if history else None


def _history(session: Session) -> list[Activation]:
    found = session.client.policy_bundles()["activations"]
    return [
        Activation(
            int(item["number"]),
            str(item["digest"]),
            Way(item["way"]),
            item.get("proposal_id"),
            str(item["by"]),
            parse_time(item["at"]),
        )
        for item in reversed(found)
    ]


def _changes(session: Session, before: Any, after: Any) -> None:
    """Which files differ between two kept bundles."""
    old, new = (_digests(session, digest) for digest in (before, after))
    rows = [
        [path, "new" if path not in old else "gone" if path not in new else "changed"]
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    session.out.table(["file", "what"], rows, "No file changes.")
    session.out.line("")


def _digests(session: Session, digest: Any) -> dict[str, str]:
    if not isinstance(digest, str):
        return {}
    return {str(item["path"]): str(item["sha256"]) for item in session.client.policy_bundle(digest)["files"]}


def _show_diff(session: Session, before: str | None, after: str) -> None:
    old = {} if before is None else _sources(session, before)
    for line in _diff(old, _sources(session, after)):
        session.out.line(line, {"+": "green", "-": "red"}.get(line[:1], ""))


def _sources(session: Session, digest: str) -> dict[str, str]:
    return {path: raw.decode("utf-8") for path, raw in kept(session, digest).contents.items()}


def _diff(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path, "").split("\n"), new.get(path, "").split("\n")
        yield from difflib.unified_diff(before, after, f"before/{path}", f"after/{path}", lineterm="")


def _show_active(out: Output, active: Mapping[str, Any]) -> None:
    out.facts((name, active.get(name)) for name in ("engine", "source", "digest", "problem"))
    out.line("")
    out.table(["file", "sha256"], ([item.get("path"), item.get("sha256")] for item in active.get("files") or []))


def _show_bundle(out: Output, bundle: Mapping[str, Any]) -> None:
    checks = bundle.get("checks") or {}
    tested = f"{checks.get('tests')} tests, {checks.get('coverage')} % of the lines, OPA {checks.get('opa')}"
    out.facts(
        [
            ("digest", bundle.get("digest")),
            ("commit", bundle.get("commit")),
            ("directory", bundle.get("directory")),
            ("signer", bundle.get("signer")),
            ("built at", moment(bundle.get("built_at"))),
            ("tested", tested if checks.get("opa") else "not at the build"),
            ("brought by", bundle.get("added_by")),
        ]
    )
    out.line("")
    out.table(["file", "sha256"], ([item.get("path"), item.get("sha256")] for item in bundle.get("files") or []))
    out.line("")
    out.table(
        ["number", "way", "by", "at"],
        (
            [item.get("number"), item.get("way"), item.get("by"), moment(item.get("at"))]
            for item in bundle["activations"]
        ),
        "It never decided.",
    )
