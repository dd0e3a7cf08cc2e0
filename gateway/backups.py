"""Backups of a gateway's database, and restoring them: what ``handrail backup`` does, for callers without a loop."""

import asyncio
import functools
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Table, update

import migrations
from audit import backup as copying
from audit import post_quantum
from audit import restore as restoring
from audit.backup import Manifest, Progress, nothing, refuse_existing
from audit.checkpoint import VerifierKey, sign_note
from audit.controls import shipped as shipped_controls
from audit.errors import BackupRefused, LogUnavailable, LogUncertain
from audit.post_quantum import PostQuantumKey
from gateway.app import build
from gateway.canonical import b64url_decode
from gateway.entries import EntryDraft, EntryType
from gateway.files import sync_directory
from gateway.keyring import services as key_services
from gateway.keyring import stores as key_stores
from gateway.model import DEFAULT_TENANT, PlanStatus
from gateway.ports import Append, Purpose
from gateway.service import SYSTEM_ACTOR, Gateway
from gateway.settings import Settings
from gateway.store.tables import connection_grants, plans, sessions, signing_keys
from gateway.store.tables import secrets as sealed_secrets
from gateway.times import format_time
from keys.entries import drafts

_TRIES: Final = 5
"""Of one append, beside a gateway that writes too."""
KEPT_APART: Final = ("keys", "epochs", "master.key", "root.key", "gateway-id")
"""What of a home no backup holds, and ``--keys`` copies to another place."""


class HomeUnfit(BackupRefused):
    """The home or the configuration that a command was given is not a whole gateway's: a key or the log is missing."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup, and the index of the entry that says so."""

    manifest: Manifest
    index: int


def create(settings: Settings, out: Path, progress: Progress = nothing) -> Made:
    """Back the database up to the directory ``out``, check the copy, and enter it in the log.

    Raises:
        BackupRefused: there is no log, ``out`` exists, or the log is not sound.
        LogUnavailable: the database cannot be read, or the entry not be made: then the backup is taken away again.
        OSError: ``out`` cannot be written.
    """
    refuse_existing(out)
    _must_be_there(settings)
    return asyncio.run(_create(settings, out, progress))


def verify(
    settings: Settings, directory: Path, trusted: Sequence[str], kept: Sequence[str], progress: Progress = nothing
) -> Manifest:
    """Check a backup with the keys of this home, and with ``trusted`` verifier keys where given.

    Raises:
        BackupRefused: it does not hold; ``detail`` says what.
    """
    return copying.verify(directory, _keys(settings, directory, trusted), kept, progress)


def restore(
    settings: Settings,
    directory: Path,
    into: str,
    origin: str,
    trusted: Sequence[str],
    kept: Sequence[str],
    progress: Progress = nothing,
) -> restoring.Restored:
    """Put a backup into the empty database ``into``, as the log ``origin``.

    Raises:
        BackupRefused: backup, target or name do not fit; ``detail`` says what.
        LogUnavailable: the database cannot be written.
    """
    _must_have_master(settings)
    if settings.keys.store != "file":
        # They lay in the database that is to be replaced.
        raise HomeUnfit(
            'restore with [keys] store = "file" and the copy of the keys that "backup create --keys" made; afterwards '
            "'handrail keys carry' puts them into the new database"
        )
    gateway = build(settings)
    try:
        # Row MACs hang on the data root and would not hold under another; signing keys that are gone are made anew.
        created = drafts(gateway.keyset.ensure(), DEFAULT_TENANT, SYSTEM_ACTOR)
        opening = restoring.Opening(
            origin=origin,
            gateway=gateway.log.gateway_id,
            time=format_time(gateway.clock()),
            controls=shipped_controls().ids,
            sign=functools.partial(_sign_checkpoint, gateway, origin),
            keys=[VerifierKey(origin, key.raw) for key in gateway.keyset.public_bytes(Purpose.CHECKPOINT)],
            also=created,
            adopt=[update(plans).where(plans.c.status != str(PlanStatus.DONE)).values(owner=gateway.log.gateway_id)],
        )
        backup = restoring.Backup(directory, _keys(settings, directory, trusted), kept, migrations.newest())
        return restoring.restore(backup, into, tables(), migrations.upgrade, opening, progress)
    finally:
        asyncio.run(gateway.close())


def copy_keys(settings: Settings, to: Path) -> list[str]:
    """Copy the home's keys to ``to``: what a restore needs and no backup holds. Returns the names.

    Whoever has this copy and a backup can read what was erased after it was made: destroy it with the epochs it holds.
    """
    refuse_existing(to)
    work = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    work.mkdir(mode=0o700)
    copied = []
    try:
        for name in KEPT_APART:
            source = settings.home / name
            if name == "master.key":
                source = settings.master_key_file
            elif name == "root.key":
                source = settings.root_file
            if source.is_dir() and not (name == "keys" and settings.keys.store == "database"):
                shutil.copytree(source, work / name)
            elif source.is_file():
                shutil.copy2(source, work / name)
            elif name == "keys" and settings.keys.store == "database":
                key_stores.copy_rows(settings, work / name)
            else:
                continue
            copied.append(name)
        for file in (path for path in work.rglob("*") if path.is_file()):
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        work.rename(to)
        sync_directory(to.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return copied


def tables() -> list[Table]:
    """What a backup holds, in an order in which foreign keys hold. Nobody stays logged in through a restore, and
    neither a key nor a secret is in a backup, wherever it lies otherwise."""
    left = (sessions, signing_keys, sealed_secrets, connection_grants)
    return [table for target in migrations.TARGETS for table in target.sorted_tables if table not in left]


def verifier_keys(trust: bytes) -> list[str]:
    """The log's keys of a trust document. Raises ``BackupRefused``."""
    try:
        return [str(key) for key in json.loads(trust)["log"]]
    except (ValueError, TypeError, KeyError):
        raise BackupRefused("not a trust document") from None


async def _create(settings: Settings, out: Path, progress: Progress) -> Made:
    gateway = build(settings)
    try:
        gateway.keyset.reload()
        schema = await asyncio.to_thread(migrations.current, gateway.engine)
        if schema != migrations.newest():
            raise BackupRefused(f"the tables are at {schema}: run handrail db upgrade")
        await gateway.log.start()
        source = copying.BackupSource(
            engine=gateway.engine,
            origin=gateway.log.origin,
            gateway=gateway.log.gateway_id,
            schema=schema,
            sign=functools.partial(_sign, gateway, gateway.log.origin),
            keys=[VerifierKey.parse(key) for key in gateway.verifier_keys()],
            trust=json.dumps(gateway.trust(), indent=2).encode(),
        )
        taken = format_time(gateway.clock())
        manifest = await asyncio.to_thread(copying.create, source, out, tables(), migrations.upgrade, taken, progress)
        try:
            return Made(manifest, await _entered(gateway, manifest))
        except BaseException:
            shutil.rmtree(out)  # what is not on record was not made
            raise
    finally:
        await gateway.close()


async def _entered(gateway: Gateway, manifest: Manifest) -> int:
    facts: dict[str, str | int] = {"size": manifest.size, "root": manifest.root, "backup": manifest.digest}
    draft = EntryDraft(EntryType.BACKUP_MADE, DEFAULT_TENANT, facts=facts)
    for attempt in range(1, _TRIES + 1):
        try:
            return (await gateway.log.append(Append([draft])))[0]
        except LogUncertain:
            raise
        except LogUnavailable:
            if attempt == _TRIES:
                raise
    raise LogUnavailable("the entry was not made")


def _sign(gateway: Gateway, origin: str, text: str) -> str:
    key = VerifierKey(origin, b64url_decode(gateway.keyset.active_jwk(Purpose.CHECKPOINT)["x"]))
    return sign_note(text, key, functools.partial(gateway.keyset.sign_raw, Purpose.CHECKPOINT))


def _sign_checkpoint(gateway: Gateway, origin: str, text: str) -> str:
    note = _sign(gateway, origin, text)
    if not gateway.settings.log.post_quantum:
        return note
    purpose = Purpose.CHECKPOINT_PQ
    key = PostQuantumKey(origin, b64url_decode(gateway.keyset.active_jwk(purpose)["pub"]))
    return note + post_quantum.line(text, key, functools.partial(gateway.keyset.sign_raw, purpose))


def _keys(settings: Settings, directory: Path, trusted: Sequence[str]) -> list[VerifierKey]:
    """Who may have signed a backup: the keys of this home under each name that it claims, and the given ones."""
    keys = [VerifierKey.parse(text) for text in trusted]
    if (settings.keys.store != "file" or (settings.home / "keys").is_dir()) and key_services.has_wrapper(settings):
        gateway = build(settings)
        try:
            gateway.keyset.reload()
            found = gateway.keyset.public_bytes(Purpose.CHECKPOINT)
            keys += [VerifierKey(name, key.raw) for name in copying.names(directory) for key in found]
        finally:
            asyncio.run(gateway.close())
    if not keys:
        raise HomeUnfit(f"{settings.home}: no keys to check the backup with; give a trust document")
    return keys


def _must_be_there(settings: Settings) -> None:
    """Making a home or a file where none is would make an empty log and back that up."""
    _must_have_master(settings)
    if settings.database.url is None and not (settings.home / "handrail.db").is_file():
        raise HomeUnfit(f"{settings.home}: there is no log there")


def _must_have_master(settings: Settings) -> None:
    if not key_services.has_wrapper(settings):
        raise HomeUnfit(f"{settings.home}: there is no master key")
    if not settings.root_file.is_file():
        raise HomeUnfit(f"{settings.root_file}: there is no data root; rows and keys hold under the old one alone")
