"""Makes genuine receipt files with keys of its own, for tests to break. Written from the RFCs, not from the code."""

import base64
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handrail import Trust, VerificationError, verify_receipt
from handrail.verify import STEPS

ORIGIN = "log.example/handrail"
POLICY = "ab" * 32


def b64u(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def jwk(key: Ed25519PrivateKey, purpose: str) -> dict[str, str]:
    members = {"crv": "Ed25519", "kty": "OKP", "x": b64u(public(key))}
    kid = b64u(hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest())
    return {**members, "kid": kid, "alg": "Ed25519", "use": "sig", "purpose": purpose}


def compact(key: Ed25519PrivateKey, header: dict[str, Any], payload: bytes) -> str:
    signed = f"{b64u(json.dumps(header).encode())}.{b64u(payload)}"
    return f"{signed}.{b64u(key.sign(signed.encode()))}"


def key_id(name: str, key: Ed25519PrivateKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x01" + public(key)).digest()[:4]


def vkey(name: str, key: Ed25519PrivateKey) -> str:
    material = base64.b64encode(b"\x01" + public(key)).decode()
    return f"{name}+{key_id(name, key).hex()}+{material}"


def signature_line(name: str, key: Ed25519PrivateKey, text: str) -> str:
    return "\u2014 " + name + " " + base64.b64encode(key_id(name, key) + key.sign(text.encode())).decode() + "\n"


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, by its recursive definition."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1, by its recursive definition."""
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < split:
        return [*path(index, leaves[:split]), root(leaves[split:])]
    return [*path(index - split, leaves[split:]), root(leaves[:split])]


class Forge:
    """A log, a receipt key and one genuine receipt; every part can be changed before :meth:`file` signs it."""

    def __init__(self, *, size: int = 7, index: int = 4) -> None:
        self.receipt_key = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)
        self.log_key = Ed25519PrivateKey.from_private_bytes(b"\x22" * 32)
        self.size, self.index = size, index
        self.values = {
            "plan": b"e.y.J",
            "args": b'{"repo_path":"/repo"}',
            "result": b'{"content":[],"structured":null}',
        }
        self.salts = {"plan": b"p" * 16, "args": b"a" * 16, "result": b"r" * 16}
        self.fields = {
            name: hashlib.sha256(self.salts[name] + value).hexdigest() for name, value in self.values.items()
        }
        self.entry: dict[str, Any] = {
            "v": 1,
            "type": "STPEXE",
            "time": 1_800_000_000.5,
            "origin": ORIGIN,
            "gateway": "g1",
            "tenant": "default",
            "context_id": "c1",
            "plan_id": "aa" * 32,
            "step_id": "s1",
            "principal": "p-1",
            "hand": "git",
            "action": "git_status",
            "effect": "allow",
            "reasons": ["git.read"],
            "policy_digest": POLICY,
            "manifest_digest": "cd" * 32,
            "controls": [],
            "commitment": hashlib.sha256(rfc8785.dumps(self.fields)).hexdigest(),
        }
        self.claims: dict[str, Any] = {
            "v": 1,
            "receipt_id": "jti-1",
            "iss": ORIGIN,
            "tenant": "default",
            "plan_commitment": self.fields["plan"],
            "step_id": "s1",
            "hand": "git",
            "action": "git_status",
            "decision": {"effect": "allow", "reasons": ["git.read"], "policy_digest": POLICY},
            "approvals": [],
            "step_jti": "jti-1",
            "args_commitment": self.fields["args"],
            "result_commitment": self.fields["result"],
            "status": "succeeded",
            "jail": {"tier": "jail", "profile_sha256": "12" * 32},
            "log": {"origin": ORIGIN, "index": index},
            "iat": 1_800_000_000,
        }
        self.header: dict[str, Any] = {
            "alg": "Ed25519",
            "typ": "receipt+jws",
            "kid": jwk(self.receipt_key, "receipt")["kid"],
        }
        self.checkpoint_origin = ORIGIN
        self.checkpoint_signer = (ORIGIN, self.log_key)

    def trust(self) -> dict[str, Any]:
        return {
            "v": 1,
            "origin": ORIGIN,
            "jwks": {"keys": [jwk(self.receipt_key, "receipt"), jwk(self.log_key, "checkpoint")]},
            "log": [vkey(ORIGIN, self.log_key)],
        }

    def leaves(self) -> list[bytes]:
        own = rfc8785.dumps(self.entry)
        return [leaf(own if number == self.index else b"entry %d" % number) for number in range(self.size)]

    def checkpoint(self) -> str:
        text = f"{self.checkpoint_origin}\n{self.size}\n{base64.b64encode(root(self.leaves())).decode()}\n"
        return text + "\n" + signature_line(*self.checkpoint_signer, text)

    def proof(self) -> str:
        hashes = "".join(base64.b64encode(item).decode() + "\n" for item in path(self.index, self.leaves()))
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{hashes}\n{self.checkpoint()}"

    def file(self) -> dict[str, Any]:
        return {
            "v": 1,
            "receipt_id": self.claims["receipt_id"],
            "receipt": compact(self.receipt_key, self.header, rfc8785.dumps(self.claims)),
            "entry": rfc8785.dumps(self.entry).decode(),
            "log_index": self.index,
            "fields": dict(self.fields),
            "openings": {
                name: {"salt": b64u(self.salts[name]), "value": b64u(value)} for name, value in self.values.items()
            },
            "proof": self.proof(),
        }

    def history(self, *, typ: str = "history+jws", **claims: Any) -> str:
        """The signed history of this gateway's keys."""
        known = jwk(self.receipt_key, "receipt")
        entries = [[0, "KEYCRE", "next"], [1, "KEYROT", "active"]]
        key = {**known, "state": "active", "created_at": 1.0,
               "activated_at": 2.0, "not_before": 2.0, "entries": entries}  # fmt: skip
        payload = {"v": 1, "iss": ORIGIN, "iat": 2, "keys": [key], **claims}
        return compact(self.receipt_key, {**self.header, "typ": typ}, rfc8785.dumps(payload))

    def page(self) -> dict[str, Any]:
        """The entry as a page of the log gives it."""
        proof = [base64.b64encode(item).decode() for item in path(self.index, self.leaves())]
        item = {"index": self.index, "code": "STPEXE", "label": "step executed", "entry": self.entry, "proof": proof}
        covers = {"first": 0, "last": self.index}
        return {"entries": [item], "next": None, "tree_size": self.size, "covers": covers, "matches": 1,
                "checkpoint": self.checkpoint()}  # fmt: skip

    def raw(self) -> bytes:
        return json.dumps(self.file()).encode()


def check(forge: Forge, file: dict[str, Any] | None = None, trust: dict[str, Any] | None = None) -> Any:
    raw = json.dumps(forge.file() if file is None else file).encode()
    return verify_receipt(raw, Trust.from_document(forge.trust() if trust is None else trust))


def refused(step: int, words: str, forge: Forge, file: dict[str, Any] | None = None, **more: Any) -> None:
    with pytest.raises(VerificationError) as caught:
        check(forge, file, **more)
    assert (caught.value.step, caught.value.title) == (step, STEPS[step - 1])
    assert words in caught.value.reason
