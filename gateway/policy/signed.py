"""A bundle as one signed file: what was built from which commit, and by whom.

The file is a compact JWS (``bundle+jws``, Ed25519) over ``{v, digest, commit, directory, built_at, signer,
checks, files}``,
where ``files`` is path -> text. Nothing in it is believed before the signature holds under a key that the reader chose,
and the digest is computed anew from the files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.canonical import b64url_decode, canonical, parse
from gateway.errors import HandrailError
from gateway.policy.bundle import Bundle, assemble
from gateway.policy.faults import BundleError, Problem
from gateway.policy.git import Revision
from gateway.ports import Typ
from keys import jws

SIGNED_MAX_BYTES: Final = 8_388_608
"""Longest signed file."""
_PARTS: Final = ("header", "bundle", "signature")
_MEMBERS: Final = frozenset({"v", "digest", "commit", "directory", "built_at", "signer", "checks", "files"})

KeyFor = Callable[[str], Mapping[str, Any]]
"""kid -> public JWK, or a refusal; see ``keys.jws``."""


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle whose signature holds.

    Attributes:
        token: the exact JWS.
        kid: thumbprint of the key that signed.
        commit: hex object id of the commit that it was built from.
        directory: of the policies in the repository.
        built_at: seconds since the epoch, by the signer's clock.
        signer: the principal whose key signed.
        contents: path -> bytes of each file.
        checks: what was run at the build: ``{opa, tests, coverage}``, ``None`` where it was not.
    """

    bundle: Bundle
    token: str
    kid: str
    commit: str
    directory: str
    built_at: int
    signer: str
    contents: Mapping[str, bytes]
    checks: Mapping[str, Any]


def payload(revision: Revision, directory: str, *, built_at: int, signer: str, checks: Mapping[str, Any]) -> bytes:
    """What is signed: RFC 8785 canonical JSON.

    Raises:
        BundleError: the files make no bundle.
    """
    bundle = assemble(revision.files)
    return canonical(
        {
            "v": 1,
            "digest": bundle.digest,
            "commit": revision.commit,
            "directory": directory,
            "built_at": built_at,
            "signer": signer,
            "checks": dict(checks),
            "files": {path: raw.decode("utf-8") for path, raw in sorted(revision.files.items())},
        }
    )


def claimed_signer(token: bytes) -> str:
    """Who a signed file says built it: good for nothing but choosing whose key must verify it.

    Raises:
        Refused: ``verify.malformed``, ``verify.*``, ``schema.json``.
        BundleError: it is not a signed bundle.
    """
    _check_size(token)
    claims = parse(jws.peek(token).payload)
    signer = claims.get("signer") if isinstance(claims, dict) else None
    if not isinstance(signer, str):
        raise _not("signed by a principal")
    return signer


def verify(token: bytes, key_for: KeyFor) -> SignedBundle:
    """Verify a signed bundle and read it.

    Raises:
        Refused: ``verify.*``: not signed, or not by a key that ``key_for`` gives.
        BundleError: what is signed is no bundle, or not the one that it says.
    """
    _check_size(token)
    verified = jws.verify(token, Typ.BUNDLE, key_for)
    return _read(token.decode("ascii"), verified.kid, verified.payload)


def read_unverified(token: bytes) -> SignedBundle:
    """The files of a signed bundle without a look at its signature: to try a bundle out, never to decide by it."""
    return _read(token.decode("ascii"), "", jws.peek(token).payload)


def damage(token: bytes) -> str | None:
    """Which part of a signed file is broken, in words; ``None`` where all can be read. It vouches for nothing:
    whether the signature holds, only who has the key can say.
    """
    if not token.strip():
        return "it is empty"
    if token != token.strip():
        return "there is white space around the signed text, such as a line end that a program added"
    parts = token.split(b".")
    if len(parts) != len(_PARTS):
        return f"it has {len(parts)} parts between dots and not three: it was cut off, or is another kind of file"
    if len(parts[2]) != jws.SIGNATURE_SEGMENT_BYTES:
        wanted = jws.SIGNATURE_SEGMENT_BYTES
        return f"its signature has {len(parts[2])} characters and not {wanted}: it was cut off, or more was added"
    for name, part in zip(_PARTS, parts, strict=True):
        try:
            b64url_decode(part.decode("ascii"))
        except (UnicodeDecodeError, HandrailError):
            return f"its {name} is not base64url: it was changed or cut off"
    try:
        read = jws.peek(token)
        if read.header["typ"] != Typ.BUNDLE:
            return f"its header says {read.header['typ']} and not {Typ.BUNDLE}: it is another kind of signed file"
    except HandrailError as refusal:
        return f"its header cannot be used: {refusal.detail or refusal.text}"
    try:
        _read(token.decode("ascii"), "", read.payload)
    except BundleError as error:
        # What is wrong with a file of the bundle is no damage: it is for the check to say, with file and line.
        whole = [problem.message for problem in error.problems if not problem.file]
        return f"its bundle cannot be read: {whole[0]}" if whole else None
    return None


def _read(token: str, kid: str, raw: bytes) -> SignedBundle:
    try:
        claims = parse(raw)
    except HandrailError as exc:
        raise BundleError([Problem("", 0, 0, f"the signed file is not strict JSON: {exc.detail}")]) from None
    if not isinstance(claims, dict) or claims.keys() != _MEMBERS or claims["v"] != 1 or claims["v"] is True:
        raise _not("of a version that this gateway reads")
    files, commit, directory = claims["files"], claims["commit"], claims["directory"]
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise _not("a bundle of text files")
    if not _is_commit(commit) or not isinstance(directory, str) or len(directory) > 256 or not directory.isprintable():
        raise _not("built from a commit")
    signer = claims["signer"]
    if not isinstance(signer, str) or not 0 < len(signer) <= 128:
        raise _not("signed by a principal")
    if type(claims["built_at"]) is not int or not isinstance(claims["checks"], dict):
        raise _not("a whole build")
    contents = {path: text.encode("utf-8") for path, text in files.items()}
    bundle = assemble(contents)
    if bundle.digest != claims["digest"]:
        raise _not("the bundle whose digest it states")
    return SignedBundle(bundle, token, kid, commit, directory, claims["built_at"], signer, contents, claims["checks"])


def _check_size(token: bytes) -> None:
    if len(token) > SIGNED_MAX_BYTES:
        raise BundleError([Problem("", 0, 0, f"the signed file is larger than {SIGNED_MAX_BYTES} bytes")])


def _is_commit(value: Any) -> bool:
    return isinstance(value, str) and len(value) in {40, 64} and set(value) <= set("0123456789abcdef")


def _not(what: str) -> BundleError:
    return BundleError([Problem("", 0, 0, f"the signed file is not {what}")])
