"""``handrail policy build``: one signed file from one commit."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from handrail import SigningKey

from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Key
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.model import Role
from gateway.permissions import ROLE_PERMISSIONS, Permission
from gateway.policy import build, signed
from gateway.policy.bundle import assemble
from gateway.policy.faults import BundleError, Problem
from gateway.policy.git import GitFailed, full_name, revision
from gateway.ports import Typ
from keys import jws

app = group()

_NO_TESTS: Final = {"opa": None, "tests": None, "coverage": None}


@command(
    app,
    "build",
    example="policy build --rev main --out policy.bundle",
    good="it was written",
    negative="the bundle is refused",
)
def build_(
    session: Session,
    rev: Annotated[str, typer.Option("--rev", help="The commit: a branch, a tag, HEAD, an object id.")],
    repo: Annotated[Path, typer.Option(help="The repository.")] = Path(),
    directory: Annotated[str, typer.Option(help="The policy directory inside of it.")] = "policies",
    out_file: Annotated[Path | None, typer.Option("--out", help="Default: policy-COMMIT.bundle")] = None,
    force: Force = False,
    key: Key = None,
    signer: Annotated[
        str | None, typer.Option(help="Your principal id. Default: the gateway is asked who you are.")
    ] = None,
    coverage: Annotated[
        float, typer.Option(min=0, max=100, help="Share of lines that the tests must cover, in percent.")
    ] = build.COVERAGE_MIN,
) -> Exit:
    """Check the policies of a commit and write them as one signed file; the work tree is not looked at."""
    out = session.out
    signing = _key(key or session.connection.key_file)
    signer_id = signer or _signer(session, signing)
    if signer is not None:
        out.note(
            f"No gateway was asked: it takes the bundle only if {signing.kid} is the enrolled key of {signer}.",
            "yellow",
        )
    try:
        with out.progress("Building", 4) as advance:
            name = full_name(repo, rev)
            found = revision(repo, name, directory)
            file = out_file or Path(f"policy-{found.commit[:12]}.bundle")
            refuse_existing(file, force=force)
            advance(1)
            bundle = assemble(found.files)
            asyncio.run(build.prove(bundle))
            advance(2)
            checks = build.opa_checks(found, coverage_min=coverage)
            advance(3)
            raw = signed.payload(found, directory, built_at=int(time.time()), signer=signer_id, checks=checks)
            token = jws.sign(signing.sign, jws.protected(signing.kid, Typ.BUNDLE), raw)
            advance(4)
    except GitFailed as exc:
        raise Stop(exc.detail, _revision_hint(repo, rev)) from None
    except BundleError as exc:
        return _refused(out, exc.problems, directory)
    if checks == _NO_TESTS:
        out.note("OPA is not installed here: the tests beside the rules were not run (make tools).", "yellow")
    save(file, token, force=force, private=False)
    document = {
        "file": str(file),
        "digest": bundle.digest,
        "revision": name,
        "commit": found.commit,
        "directory": directory,
        "files": len(found.files),
        "signer": signer_id,
        "kid": signing.kid,
        **checks,
    }
    out.show(document, lambda: out.facts((name.replace("_", " "), value) for name, value in document.items()))
    return Exit.GOOD


def _key(file: Path | None) -> SigningKey:
    if file is None:
        raise Stop("a bundle is signed, and there is no key", "Give your enrolled private JWK with --key FILE.")
    return SigningKey.load(file)


def _signer(session: Session, signing: SigningKey) -> str:
    """Who builds, by the gateway's word; their enrolled key signs, or no gateway takes the bundle.

    Raises:
        Stop: it is another key, or the person may not propose policies.
    """
    me = session.client.me()
    enrolled = me.get("approval_kid")
    if enrolled is None:
        hint = "Have a security admin enrol it: handrail principals add ID --role author --approval-key FILE"
        raise Stop(f"{me['id']} has no enrolled key, and a bundle is believed by its signer's alone", hint)
    if enrolled != signing.kid:
        hint = f"Give the private key of {enrolled} with --key FILE, or build as whose key it is: --as NAME"
        raise Stop(
            f"the key {signing.kid} is not the enrolled key of {me['id']}: no gateway would take the bundle", hint
        )
    if not any(Permission.POLICY_PROPOSE in ROLE_PERMISSIONS[Role(role)] for role in me["roles"]):
        hint = "Build as an author or operator: --as NAME"
        raise Stop(f"{me['id']} may not propose policies: no gateway would take the bundle", hint)
    return str(me["id"])


def _revision_hint(repo: Path, rev: str) -> str:
    if (repo / rev).is_dir():
        return f"{rev} is a directory, not a revision: give --rev HEAD --directory {rev}"
    return "Give a repository with --repo and one of its commits with --rev, and a directory of it with --directory."


def _refused(out: Output, problems: tuple[Problem, ...], directory: str) -> Exit:
    """Each problem with its file as the repository names it."""
    shown = [str(replace(one, file=f"{directory.rstrip('/')}/{one.file}") if one.file else one) for one in problems]
    out.show({"problems": shown}, lambda: out.table(["problem"], ([text] for text in shown)))
    return Exit.NEGATIVE
