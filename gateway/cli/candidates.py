"""The bundle that a command is pointed at: a directory, a file that ``policy build`` wrote, or the digest of a bundle
that the gateway keeps. For commands that try a bundle out a file's signature is not asked for, its digest is
computed; a gateway that one is brought to verifies it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.connect import Session
from gateway.cli.exits import Code, Exit, Stop, unreadable
from gateway.files import TooLarge, read_bounded
from gateway.policy.bundle import Bundle, load
from gateway.policy.engine import bundle_directory
from gateway.policy.signed import SIGNED_MAX_BYTES, SignedBundle, damage, read_unverified
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
Brought = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A file of 'policy build', or the digest of a bundle that is kept.")
]


class Named(StrEnum):
    """What a BUNDLE argument names."""

    DIRECTORY = "directory"
    FILE = "signed file"
    DIGEST = "digest of a bundle that the gateway keeps"


def named(session: Session, given: str) -> Named:
    """What was meant; it is said on standard error.

    Raises:
        Stop: nothing that there is, or two things at once.
    """
    path, digest = Path(given), _DIGEST.fullmatch(given) is not None
    there = Named.DIRECTORY if path.is_dir() else Named.FILE if path.is_file() else None
    if digest and there is not None:
        raise Stop(
            f"{given}: a {there} of this name is here, and it has the form of a digest",
            "For what is here, give ./ before its name; for the digest, go to another directory.",
        )
    if there is None and not digest:
        raise Stop(
            f"{given}: neither a directory nor a signed file, nor a digest",
            "Give a directory such as policies, a file of 'policy build', or a digest of 'handrail policy list'.",
        )
    found = there or Named.DIGEST
    session.out.note(f"Taken for the {found}: {given}")
    return found


def candidate(session: Session, given: str | None, settings: PolicySettings) -> Bundle:
    """The bundle that was meant. Only a digest asks the gateway.

    Raises:
        BundleError: it is there and cannot be used.
        Stop: there is none.
    """
    if given is None:
        directory = bundle_directory(settings)
        session.out.note(f"Taken for the configured directory: {directory}")
        return load(directory)
    match named(session, given):
        case Named.DIRECTORY:
            return load(Path(given))
        case Named.FILE:
            return read_unverified(signed_file(Path(given))).bundle
        case Named.DIGEST:
            return kept(session, given).bundle


def brought(session: Session, given: str) -> Mapping[str, Any]:
    """A bundle as the gateway keeps it: the one of a digest, or that of a signed file, which is brought now. A
    bundle that is kept already stays as it is.

    Raises:
        Stop: a directory, which is not signed; or nothing that there is.
    """
    match named(session, given):
        case Named.DIRECTORY:
            raise Stop(
                f"{given}: a directory, and a gateway takes a signed file of a commit",
                "Make one: handrail policy build --rev HEAD",
            )
        case Named.FILE:
            return session.client.add_policy_bundle(signed_file(Path(given)))
        case Named.DIGEST:
            return session.client.policy_bundle(given)


def kept(session: Session, digest: str) -> SignedBundle:
    """A bundle that the gateway keeps. Its digest is computed anew, so it is the one that was meant.

    Raises:
        Stop: the gateway gave another.
    """
    found = read_unverified(session.client.policy_bundle_file(digest).encode())
    if found.bundle.digest != digest:
        raise Stop("the gateway gave another bundle than the one asked for", "Tell its operator.", Exit.NEGATIVE)
    return found


def signed_file(file: Path) -> bytes:
    """A file of ``policy build``, whole as far as one can see without the signer's key.

    Raises:
        Stop: it cannot be read, or which part of it is broken.
    """
    try:
        token = read_bounded(file, SIGNED_MAX_BYTES, regular=False)
    except TooLarge as exc:
        raise Stop(f"{file}: {exc.strerror}", "Make the bundle smaller.", code=Code.FILE) from None
    except OSError as exc:
        raise unreadable(file, exc) from None
    broken = damage(token)
    if broken is not None:
        hint = (
            "Copy it anew, byte for byte, from where it was built, or build it again: handrail policy build --rev REV"
        )
        raise Stop(f"{file}: not a signed bundle: {broken}", hint, code=Code.FILE)
    return token
