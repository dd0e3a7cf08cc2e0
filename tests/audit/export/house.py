"""A small log with a bundle's surroundings: keys of a real key set, receipts, policy bundles."""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from audit.export.bundle import Around, bundle
from audit.export.heads import Head
from audit.export.openings import Payloads
from audit.export.source import LogSource, Selection
from audit.log import Log
from audit.query import Filter, StoredEntry
from audit.verifier.archive import END, header, padding
from audit.verifier.check import Criteria, verify
from audit.verifier.note import Vkey
from audit.verifier.report import Report, Verdict
from gateway.canonical import canonical
from gateway.commitments import Committed, commit
from gateway.entries import EntryDraft, EntryType
from gateway.exports import Exports
from gateway.keyring.history import KeyHistory
from gateway.model import Principal, Role
from gateway.ports import Append, Purpose, Typ
from gateway.settings import KeySettings
from gateway.store.bundles import SqlBundles
from gateway.store.receipts import SqlReceipts
from keys.entries import drafts
from keys.keyset import Keyset
from keys.stores.file import FileKeyStore
from keys.stores.master import MasterKey

NOW = 1_795_226_400
POLICY = {"handrail/decisions.rego": "package handrail\n", "handrail/data.json": "{}"}
DIGEST = hashlib.sha256(
    canonical([[path, hashlib.sha256(text.encode()).hexdigest()] for path, text in sorted(POLICY.items())])
).hexdigest()
OTHERS = "acme"
AUDITOR = Principal("auditor", "default", "p-auditor", frozenset({Role.AUDITOR}))


def make_keyset(directory: Path) -> Keyset:
    keyset = Keyset(FileKeyStore(directory / "keys", MasterKey(bytes(32))), KeySettings(), lambda: NOW - 100.0)
    keyset.ensure()
    return keyset


def executed(number: int, tenant: str = "default", **members: Any) -> tuple[EntryDraft, Committed]:
    """A step that was executed, and the value that its entry commits to."""
    value = commit(json.dumps({"secret": f"value {number}"}).encode(), f"{tenant}/ada/c")
    known = {
        "type": EntryType.STEP_EXECUTED, "context_id": "c", "plan_id": f"{number:064x}", "step_id": "s",
        "principal": "p-1", "hand": "git", "action": "git_status", "effect": "allow", "policy_digest": DIGEST,
        **members,
    }  # fmt: skip
    return EntryDraft(known.pop("type"), tenant, fields={"result": value}, **known), value


@dataclass
class House:
    """A log on a database, and everything that a bundle takes from elsewhere."""

    log: Log
    keyset: Keyset
    receipts: dict[int, str] = field(default_factory=dict)

    async def fill(self, count: int, tenant: str = "default", **members: Any) -> list[int]:
        """So many executed steps, each with its receipt; their indices."""
        made = [executed(number, tenant, **members) for number in range(count)]
        indices = await self.log.append(Append([draft for draft, _ in made]))
        for index, (draft, value) in zip(indices, made, strict=True):
            self.receipts[index] = self.receipt(index, draft, value)
        return list(indices)

    async def record_keys(self) -> None:
        await self.log.append(Append(drafts(self.keyset.list(), "default", "system")))

    def receipt(self, index: int, draft: EntryDraft, value: Committed, **claims: Any) -> str:
        said = {
            "v": 1, "receipt_id": f"r-{index}", "iss": self.log.origin, "tenant": draft.tenant,
            "plan_commitment": "0" * 64, "step_id": draft.step_id, "hand": draft.hand, "action": draft.action,
            "status": "succeeded", "approvals": [], "log": {"origin": self.log.origin, "index": index}, "iat": NOW,
            "decision": {"effect": "allow", "reasons": [], "policy_digest": draft.policy_digest},
            "result_commitment": value.commitment, **claims,
        }  # fmt: skip
        return self.keyset.sign(Purpose.RECEIPT, Typ.RECEIPT, canonical(said))

    @property
    def key(self) -> Vkey:
        return Vkey.parse(self.log.vkey())

    def trust(self) -> dict[str, Any]:
        return {"v": 1, "origin": self.log.origin, "jwks": self.keyset.trust_jwks(), "log": [self.log.vkey()]}

    async def history(self) -> str:
        return await KeyHistory(self.log, self.keyset, lambda: float(NOW)).signed()

    async def selection(self, *, first: int = 0, end: int | None = None, tree_size: int | None = None,
                        tenant: str = "default", key_changes: bool | None = None, **filters: Any
                        ) -> tuple[Selection, str]:  # fmt: skip
        size, note = await self.log.signed_head()
        if tree_size is not None:
            size, note = tree_size, LogSource(self.log.reader).checkpoint(tree_size)
        changes = tenant == "default" if key_changes is None else key_changes
        wanted = Filter(tenant=tenant, **filters)
        return Selection(wanted, first, size if end is None else end, size, key_changes=changes), note

    async def bundle(self, *, payloads: bool = False, **asked: Any) -> bytes:
        """A bundle as the gateway makes one."""
        return b"".join([part async for part in self.parts(payloads=self.log.reads if payloads else None, **asked)])

    async def parts(
        self, *, payloads: Payloads | None = None, kept: Sequence[int] = (), **asked: Any
    ) -> AsyncIterator[bytes]:
        """The same, part by part."""
        selection, note = await self.selection(**asked)

        async def receipts(page: Sequence[StoredEntry]) -> list[str]:
            return [self.receipts[stored.index] for stored in page if stored.index in self.receipts]

        async def policy(digest: str) -> Mapping[str, str] | None:
            return POLICY if digest == DIGEST else None

        around = Around(
            origin=self.log.origin,
            by="p-auditor",
            head=Head(tree_size=selection.tree_size, note=note, cosignatures=0, needed=0, log_size=selection.tree_size),
            later=0,
            keys=self.trust(),
            history=await self.history(),
            controls={},
            receipts=receipts,
            policy=policy,
            payloads=payloads,
            sign=lambda raw: self.keyset.sign(Purpose.RECEIPT, Typ.EXPORT, raw),
            kept=kept,
            now=NOW,
        )
        async for part in bundle(LogSource(self.log.reader), selection, around):
            yield part


def exports_of(house: House, engine: Engine) -> Exports:
    """A gateway's exports of the house's log."""
    return Exports(
        log=house.log,
        source=LogSource(house.log.reader),
        receipts=SqlReceipts(engine),
        bundles=SqlBundles(engine, bytes(32)),
        signer=house.keyset,
        trust=house.trust,
        history=house.history,
        directory=None,
        controls={},
        clock=lambda: float(NOW),
    )


def check(raw: bytes, *keys: Vkey, **asked: Any) -> Report:
    return verify(BytesIO(raw), Criteria(keys=keys, **asked))


def said(report: Report, verdict: Verdict) -> dict[str, str]:
    """What is about what, of one verdict."""
    return {one.about: one.text for one in report.findings if one.verdict is verdict}


def taken_apart(raw: bytes) -> list[tuple[str, bytes]]:
    """The parts of a bundle, by a reader of the tests' own."""
    found, place = [], 0
    while raw[place : place + 512] != bytes(512):
        name = raw[place : place + 100].rstrip(b"\0").decode()
        size = int(raw[place + 124 : place + 135], 8)
        found.append((name, raw[place + 512 : place + 512 + size]))
        place += 512 + size + -size % 512
    return found


def put_together(parts: Sequence[tuple[str, bytes]]) -> bytes:
    return b"".join(header(name, len(raw)) + raw + padding(len(raw)) for name, raw in parts) + END


def resigned(house: House, parts: Sequence[tuple[str, bytes]], /, **changes: Any) -> bytes:
    """The parts with a manifest made anew and signed by the gateway: what a gateway that lies can make."""
    content, old = parts[:-2], json.loads(parts[-2][1])
    listed = [{"name": name, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in content]
    manifest = {**old, "asked": json.loads(content[0][1]), "parts": listed, **changes}
    raw = canonical(manifest)
    claims = {"v": 1, "iss": house.log.origin, "iat": manifest["made_at"],
              "manifest_sha256": hashlib.sha256(raw).hexdigest()}  # fmt: skip
    token = house.keyset.sign(Purpose.RECEIPT, Typ.EXPORT, canonical(claims))
    return put_together([*content, ("manifest.json", raw), ("manifest.sig", token.encode())])
