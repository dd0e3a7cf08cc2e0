"""The bundle that a command is pointed at: a directory, a file that ``policy build`` wrote, or the digest of a bundle
that the gateway keeps. For commands that try a bundle out: a file's signature is not asked for, its digest is computed.
"""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop, unreadable
from gateway.errors import Refused
from gateway.policy.bundle import Bundle, load
from gateway.policy.engine import bundle_directory
from gateway.policy.signed import SIGNED_MAX_BYTES, SignedBundle, read_unverified
from gateway.settings import PolicySettings

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

Candidate = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="BUNDLE",
        help="A directory, a file of 'policy build', or the digest of a bundle that the gateway keeps."
        " Default: the configured directory.",
    ),
]


def candidate(session: Session, given: str | None, settings: PolicySettings) -> Bundle:
    """The bundle that was meant. Only a digest asks the gateway.

    Raises:
        BundleError: it is there and cannot be used.
        Stop: there is none.
    """
    if given is None:
        return load(bundle_directory(settings))
    path = Path(given)
    if path.is_dir():
        return load(path)
    if path.is_file():
        return _read(path)
    if _DIGEST.fullmatch(given):
        return kept(session, given).bundle
    raise Stop(
        f"{given}: neither a directory nor a signed file, nor a digest",
        "Give a directory such as policies, a file of 'handrail policy build', or a digest of 'handrail policy list'.",
    )


def kept(session: Session, digest: str) -> SignedBundle:
    """A bundle that the gateway keeps. Its digest is computed anew, so it is the one that was meant.

    Raises:
        Stop: the gateway gave another.
    """
    found = read_unverified(session.client.policy_bundle_file(digest).encode())
    if found.bundle.digest != digest:
        raise Stop("the gateway gave another bundle than the one asked for", "Tell its operator.", Exit.NEGATIVE)
    return found


def _read(file: Path) -> Bundle:
    try:
        with file.open("rb") as stream:
            token = stream.read(SIGNED_MAX_BYTES + 1)
    except OSError as exc:
        raise unreadable(file, exc) from None
    try:
        return read_unverified(token).bundle
    except (Refused, UnicodeDecodeError) as exc:
        detail = exc.detail if isinstance(exc, Refused) else "not ASCII"
        raise Stop(f"{file}: not a signed bundle ({detail})", "'handrail policy build' writes one.") from None
