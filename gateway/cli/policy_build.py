"""``handrail policy build``: one signed file from one commit."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail import SigningKey

from gateway.cli.command import command, group
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save
from gateway.policy import build, signed
from gateway.policy.bundle import assemble
from gateway.policy.faults import BundleError, Problem
from gateway.policy.git import GitFailed, Revision, revision
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
    key: Annotated[Path | None, typer.Option(help="Your enrolled private JWK. Default: the one in cli.json.")] = None,
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
    try:
        with out.progress("Building", 4) as advance:
            found = revision(repo, rev, directory)
            file = out_file or Path(f"policy-{found.commit[:12]}.bundle")
            refuse_existing(file, force=force)
            advance(1)
            bundle = assemble(found.files)
            asyncio.run(build.prove(bundle))
            advance(2)
            checks = build.opa_checks(found, coverage_min=coverage)
            advance(3)
            signer_id = signer or str(session.client.me()["id"])
            raw = signed.payload(found, directory, built_at=int(time.time()), signer=signer_id, checks=checks)
            token = jws.sign(signing.sign, jws.protected(signing.kid, Typ.BUNDLE), raw)
            advance(4)
    except GitFailed as exc:
        raise Stop(exc.detail, "Give a repository with --repo and one of its commits with --rev.") from None
    except BundleError as exc:
        return _refused(out, exc.problems)
    if checks == _NO_TESTS:
        out.note("OPA is not installed here: the tests beside the rules were not run (make tools).", "yellow")
    save(file, token, force=force, private=False)
    document = _document(file, found, bundle.digest, signing.kid, signer_id, checks)
    out.show(document, lambda: out.facts((name.replace("_", " "), value) for name, value in document.items()))
    return Exit.GOOD


def _key(file: Path | None) -> SigningKey:
    if file is None:
        raise Stop("a bundle is signed, and there is no key", "Give your enrolled private JWK with --key FILE.")
    return SigningKey.load(file)


def _document(
    file: Path, found: Revision, digest: str, kid: str, signer: str, checks: dict[str, Any]
) -> dict[str, Any]:
    return {
        "file": str(file),
        "digest": digest,
        "commit": found.commit,
        "files": len(found.files),
        "signer": signer,
        "kid": kid,
        **checks,
    }


def _refused(out: Output, problems: tuple[Problem, ...]) -> Exit:
    document = {"problems": [str(problem) for problem in problems]}
    out.show(document, lambda: out.table(["problem"], ([text] for text in document["problems"])))
    return Exit.NEGATIVE
