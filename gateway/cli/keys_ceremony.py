"""``handrail keys ceremony``: a key made before several people, who each sign a record of it; no gateway is asked.

The record is ``{v, transcript, signatures}``: what was made (a fingerprint and the SHA-256 of each file, never the
key), when, who attended and who watched; and over its RFC 8785 form one ``ceremony+jws`` by each attendant's own key.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail import MalformedError, SigningKey, VerifyKey, load_public
from handrail import jws as client_jws
from handrail.strict import canonical, parse

from gateway.cli.command import command, group
from gateway.cli.exits import Code, Exit, Stop, unreadable
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing, save, save_json
from gateway.files import read_bounded
from gateway.rendering import moment
from keys.stores.master import MasterKey

TYP: Final = "ceremony+jws"
ATTENDANTS_MIN: Final = 2
_TRANSCRIPT: Final = {"v", "made", "fingerprint", "at", "outputs", "attendants", "witnesses"}
_RECORD_MAX_BYTES: Final = 1 << 20
_FINGERPRINT: Final = "handrail master key fingerprint v1"

app = group("Make a key before several people, and keep a record that each of them signs.")

Attendants = Annotated[
    list[str],
    typer.Option("--attendant", metavar="NAME=FILE", help="Who takes part, and the person's key. Two at least."),
]


class Made(StrEnum):
    """What a ceremony makes."""

    MASTER = "master"
    SIGNING = "signing"


@command(
    app,
    example="keys ceremony make master --out m --attendant a=a.jwk --attendant b=b.jwk --record r",
    good="it was made, and the record is signed",
)
def make(
    out: Output,
    kind: Annotated[Made, typer.Argument(metavar="KIND", help="master: a master key. signing: a person's key (JWK).")],
    files: Annotated[list[Path], typer.Option("--out", help="A file for the key; again for each further copy.")],
    attendant: Attendants,
    record: Annotated[Path, typer.Option(help="The file for the signed record.")],
    witness: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Who watches and signs nothing.")] = None,
    force: Force = False,
) -> None:
    """Make a key in files of mode 0600, and a record of it signed by everybody who took part."""
    keys = {name: SigningKey.load(file) for name, file in _named(attendant).items()}
    _different([key.public for key in keys.values()])
    for file in [*files, record]:
        refuse_existing(file, force=force)
    fingerprint = (_master if kind is Made.MASTER else _signing)(files, force=force)
    transcript = {
        "v": 1,
        "made": str(kind),
        "fingerprint": fingerprint,
        "at": int(time.time()),
        "outputs": [{"file": file.name, "sha256": _sha256(file)} for file in files],
        "attendants": [{"name": name, "kid": key.kid} for name, key in keys.items()],
        "witnesses": list(witness or ()),
    }
    document = {
        "v": 1,
        "transcript": transcript,
        "signatures": [client_jws.sign(TYP, transcript, key) for key in keys.values()],
    }
    save_json(record, document, force=force, private=False)
    out.show({"record": str(record), **document}, lambda: _show(out, transcript))


@command(
    app,
    example="keys ceremony check r --attendant a=a.pub --attendant b=b.pub --file m",
    good="the record holds",
    negative="it does not",
)
def check(
    out: Output,
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="As 'keys ceremony make' wrote it.")],
    attendant: Attendants,
    file: Annotated[list[Path] | None, typer.Option("--file", help="A copy of the key, to hold against it.")] = None,
) -> Exit:
    """Check who signed the record of a ceremony, and that a file is one that it made."""
    try:
        transcript = _checked(record, {name: load_public(path) for name, path in _named(attendant).items()})
        known = {output["sha256"] for output in transcript["outputs"]}
        strange = [path for path in file or () if _sha256(path) not in known]
        if strange:
            raise MalformedError(f"{strange[0].name} is no file that the ceremony made")
    except MalformedError as exc:
        out.error(f"{record}: {exc}", "Do not rely on it. Ask the people whom it names.", Code.UNVERIFIED)
        return Exit.NEGATIVE
    out.show({"holds": True, "transcript": transcript}, lambda: _show(out, transcript))
    return Exit.GOOD


def _checked(record: Path, attendants: Mapping[str, VerifyKey]) -> dict[str, Any]:
    """The transcript that exactly these people signed. Raises ``MalformedError``."""
    try:
        raw = read_bounded(record, _RECORD_MAX_BYTES, regular=False)
    except OSError as exc:
        raise unreadable(record, exc) from None
    document = parse(raw)
    if not isinstance(document, dict) or document.keys() != {"v", "transcript", "signatures"} or document["v"] != 1:
        raise MalformedError("not the record of a ceremony")
    transcript, signatures = document["transcript"], document["signatures"]
    if not isinstance(transcript, dict) or transcript.keys() != _TRANSCRIPT or not isinstance(signatures, list):
        raise MalformedError("not the record of a ceremony")
    said = [{"name": name, "kid": key.kid} for name, key in attendants.items()]
    if sorted(said, key=canonical) != sorted(transcript["attendants"], key=canonical):
        raise MalformedError("other people took part than those that you name, or with other keys")
    _different(list(attendants.values()))
    known = {key.kid: key for key in attendants.values()}
    signed = []
    for token in signatures:
        if not isinstance(token, str) or client_jws.verify(token, TYP, known) != transcript:
            raise MalformedError("a signature is of another transcript")
        signed.append(client_jws.kid_of(token))
    if sorted(signed) != sorted(known):
        raise MalformedError("not everybody signed, each once")
    return transcript


def _named(given: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for one in given:
        name, mark, path = one.partition("=")
        if not name or not mark or not path or name in found:
            raise Stop(f"--attendant {one}: not NAME=FILE, each name once", "Make a key file: handrail keys new.")
        found[name] = Path(path)
    if len(found) < ATTENDANTS_MIN:
        raise Stop("a ceremony takes two people at least", "Give --attendant NAME=FILE for each of them.")
    return found


def _different(keys: Sequence[VerifyKey]) -> None:
    if len({key.kid for key in keys}) != len(keys):
        raise Stop("two attendants have one key", "Each person has a key of their own: handrail keys new.")


def _master(files: Sequence[Path], *, force: bool) -> str:
    """Write a new master key; returns a fingerprint that tells nothing of it."""
    secret = secrets.token_bytes(32)
    for file in files:
        save(file, f"{secret.hex()}\n", force=force, private=True)
    return MasterKey(secret).derive(_FINGERPRINT).hex()


def _signing(files: Sequence[Path], *, force: bool) -> str:
    """Write a new Ed25519 key of a person; returns its thumbprint."""
    key = SigningKey.generate()
    for file in files:
        key.save(file, replace=force)
    return key.kid


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as exc:
        raise unreadable(file, exc) from None


def _show(out: Output, transcript: Mapping[str, Any]) -> None:
    out.facts(
        [
            ("made", transcript["made"]),
            ("fingerprint", transcript["fingerprint"]),
            ("at", moment(transcript["at"])),
            ("signed by", ", ".join(str(one["name"]) for one in transcript["attendants"])),
            ("watched by", ", ".join(map(str, transcript["witnesses"])) or "nobody else"),
        ]
    )
    out.table(["file", "SHA-256"], ([one["file"], one["sha256"]] for one in transcript["outputs"]))
