"""Write the vectors of this directory again: ``python -m tests.client.vectors.regenerate``.

A receipt key, or a key of the log, was stolen at T: receipts that stand, and one for each way to have a forged one
believed. Each vector is ``{name, trust, file, witnesses, stands, says}``.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.client.receipt_forge import ORIGIN, Forge, compact, jwk, public, signature_line, vkey

T = 1_800_000_100
"""The theft; the genuine receipt is of 100 s before it."""
WITNESS = Ed25519PrivateKey.from_private_bytes(b"\x55" * 32)
NEW_LOG = Ed25519PrivateKey.from_private_bytes(b"\x66" * 32)
FILE = Path(__file__).with_name("compromise.json")


def cosignature(text: str, time: int, name: str = "w.example") -> str:
    signed = WITNESS.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    blob = _witness_id(name) + time.to_bytes(8, "big") + signed
    return f"\u2014 {name} {base64.b64encode(blob).decode()}\n"


def witness_vkey(name: str = "w.example") -> str:
    material = base64.b64encode(b"\x04" + public(WITNESS)).decode()
    return f"{name}+{_witness_id(name).hex()}+{material}"


def _witness_id(name: str) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x04" + public(WITNESS)).digest()[:4]


def _receipt_stolen(**members: Any) -> Callable[[Forge], dict[str, Any]]:
    """The trust document after the receipt key was revoked, with the members of its JWK that say what stands."""

    def trust(forge: Forge) -> dict[str, Any]:
        document = forge.trust()
        stolen = {"state": "revoked", "revoked_at": T + 50, "compromised_at": T, "covered_size": 6, **members}
        document["jwks"]["keys"][0] |= {name: value for name, value in stolen.items() if value is not None}
        fresh = Ed25519PrivateKey.from_private_bytes(b"\x77" * 32)
        document["jwks"]["keys"].append(jwk(fresh, "receipt"))
        return document

    return trust


def _log_stolen(**members: Any) -> Callable[[Forge], dict[str, Any]]:
    def trust(forge: Forge) -> dict[str, Any]:
        document = forge.trust()
        stolen = {"state": "revoked", "revoked_at": T + 50, "compromised_at": T, "covered_size": 6, **members}
        document["jwks"]["keys"][1] |= {name: value for name, value in stolen.items() if value is not None}
        document["log"] = [vkey(document["origin"], NEW_LOG)]
        return document

    return trust


def _text(forge: Forge) -> str:
    return forge.checkpoint().rpartition("\n\n")[0] + "\n"


def _with_line(forge: Forge, line: str) -> dict[str, Any]:
    file = forge.file()
    return {**file, "proof": file["proof"] + line}


def vectors() -> list[dict[str, Any]]:
    """Every vector, made anew; Ed25519 is deterministic, so they are the same each time."""
    made: list[dict[str, Any]] = []

    def add(name: str, trust: dict[str, Any], file: dict[str, Any], says: str = "", **more: Any) -> None:
        made.append(
            {"name": name, "trust": trust, "file": file, "witnesses": [], "stands": not says, "says": says, **more}
        )

    forge = Forge()
    add("covered before the receipt key was stolen", _receipt_stolen()(forge), forge.file())
    add("not covered", _receipt_stolen(covered_size=4)(forge), forge.file(), "no checkpoint covered it")
    add("covered up to it and not with it", _receipt_stolen(covered_size=5)(forge), forge.file())
    add("nothing covered", _receipt_stolen(covered_size=0)(forge), forge.file(), "no checkpoint covered it")
    add(
        "nobody knows since when",
        _receipt_stolen(compromised_at=None, covered_size=None)(forge),
        forge.file(),
        "not trusted",
    )
    add("no size", _receipt_stolen(covered_size=None)(forge), forge.file(), "not trusted")
    add("a size that is none", _receipt_stolen(covered_size=-1)(forge), forge.file(), "not trusted")
    add("a size that is a text", _receipt_stolen(covered_size="6")(forge), forge.file(), "not trusted")
    add("a size that is a truth", _receipt_stolen(covered_size=True)(forge), forge.file(), "not trusted")

    late = Forge()
    late.claims["iat"] = T
    add("says itself that it was signed after", _receipt_stolen()(late), late.file(), "in wrong hands by then")

    dated_back = Forge(size=9, index=8)
    dated_back.claims["iat"] = T - 1_000
    add("dated back, about a later entry", _receipt_stolen()(dated_back), dated_back.file(), "no checkpoint covered it")

    moved = Forge(size=9, index=8)
    file = moved.file()
    moved.claims["log"]["index"] = 4
    file["receipt"] = compact(moved.receipt_key, moved.header, rfc8785.dumps(moved.claims))
    add(
        "names a covered entry, and proves another", _receipt_stolen()(moved), {**file, "log_index": 4}, "names entry 4"
    )

    other = Forge()
    entry = other.file()["entry"]
    other.claims["hand"] = "mail"
    add(
        "another hand than the covered entry",
        _receipt_stolen()(other),
        {**other.file(), "entry": entry},
        "hand of the receipt",
    )

    forge = Forge()
    before, after = cosignature(_text(forge), T - 1), cosignature(_text(forge), T)
    one = {"witnesses": [witness_vkey()]}
    add(
        "a stolen log key's checkpoint that a witness saw before",
        _log_stolen()(forge),
        _with_line(forge, before),
        **one,
    )
    add("a witness that saw it after", _log_stolen()(forge), _with_line(forge, after), "fetch the proof anew", **one)
    add("no witness saw it", _log_stolen()(forge), forge.file(), "are needed", **one)
    add("the verifier names no witness", _log_stolen()(forge), _with_line(forge, before), "fetch the proof anew")
    add("a log key of which nobody knows since when", _log_stolen(compromised_at=None, covered_size=None)(forge),
        _with_line(forge, before), "no trusted key signed", **one)  # fmt: skip
    again = _with_line(forge, signature_line(ORIGIN, NEW_LOG, _text(forge)))
    add("the log's new key signed it as well", _log_stolen()(forge), again)
    blob = bytearray(base64.b64decode(before.split()[2]))
    blob[4:12] = (T - 2).to_bytes(8, "big")
    forged = f"\u2014 w.example {base64.b64encode(blob).decode()}\n"
    add("the time of a cosignature moved", _log_stolen()(forge), _with_line(forge, forged), "does not verify", **one)
    return made


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")
