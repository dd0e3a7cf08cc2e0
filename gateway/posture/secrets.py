"""Keys, and files that hold secrets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import make_url, select

from gateway.keyring import services as key_services
from gateway.ports import Purpose
from gateway.posture.model import Check, Severity, Verdict, bad, good
from gateway.posture.scene import Scene
from gateway.settings import Settings
from gateway.store.tables import api_keys
from keys.keyset import rotate_days
from keys.rotation import KeyState, age_from
from keys.stores.master import VARIABLE

KEY_DAYS: Final = 366
"""For a purpose whose keys are rotated by hand."""
LATE_DAYS: Final = 2
"""What a schedule may be behind: a gateway that runs rotates within seconds."""
API_KEY_DAYS: Final = 90
_DAY_SECONDS: Final = 86_400
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SHOWN_MAX: Final = 5


def _rotated(scene: Scene) -> Verdict:
    old = {
        record.purpose: (scene.now - age_from(record)) / _DAY_SECONDS
        for record in scene.signing_keys
        if record.state is KeyState.ACTIVE
    }
    longest = {purpose: _longest(scene, purpose) for purpose in old}
    late = [
        f"{purpose} ({days:.0f} days, at most {longest[purpose]})"
        for purpose, days in sorted(old.items())
        if days > longest[purpose]
    ]
    if late:
        return bad(f"keys that should have been rotated: {', '.join(late)}", "handrail keys rotate PURPOSE")
    return good(f"{len(old)} active keys, the oldest {max(old.values(), default=0):.0f} days old")


def _longest(scene: Scene, purpose: Purpose) -> int:
    days = rotate_days(scene.settings.keys, purpose)
    return days + LATE_DAYS if days else KEY_DAYS


def _files(scene: Scene) -> Verdict:
    wide = [path for path in _secret_paths(scene) if path.stat().st_mode & _OTHERS]  # of a link, the file at its end
    if wide:
        shown = ", ".join(map(str, wide[:_SHOWN_MAX]))
        more = f" and {len(wide) - _SHOWN_MAX} more" if len(wide) > _SHOWN_MAX else ""
        return bad(f"open to other users: {shown}{more}", "chmod go= FILE")
    return good("secrets can be read by their owner alone")


def _secret_paths(scene: Scene) -> Iterator[Path]:
    """Everything that is there and should be nobody else's: the home, what lies in it, and what the settings name."""
    settings = scene.settings
    home = settings.home
    named = [
        home,
        settings.root_file,
        settings.keys.master_key_previous_file,
        None if settings.keys.pkcs11 is None else settings.keys.pkcs11.pin_file,
        _transit_credential(settings),
        *(home / name for name in ("keys", "epochs", "cli.json")),
        *(path for folder in ("keys", "epochs") for path in sorted((home / folder).glob("*"))),
        settings.policy.opa_token_file,
        settings.policy.opa_certificate_key_file,
        *(getattr(settings.policy.remote, name, None) for name in ("token_file", "ssh_key_file", "notify_secret_file")),
        *(path for webhook in settings.webhooks.values() for path in (webhook.secret_file, webhook.url_file)),
    ]
    if VARIABLE not in os.environ:
        named.append(scene.master_key_file)
    database = make_url(settings.database_url)
    if database.get_backend_name() == "sqlite" and home not in Path(database.database or "").parents:
        named.append(Path(database.database or ""))  # inside of the home, its directory closes it
    for path in named:
        if path is not None and path.exists():
            yield path


def _transit_credential(settings: Settings) -> Path | None:
    """A JWT is left out: who may read a pod's is the platform's business, and it is short-lived."""
    transit = settings.keys.transit
    return None if transit is None or transit.auth == "jwt" else transit.credential_file


def _apart(scene: Scene) -> Verdict:
    if key_services.is_in_service(scene.settings):
        return good("the data root is wrapped by a key that stays in a service")
    file = scene.master_key_file.absolute()
    if VARIABLE in os.environ:
        return good(f"the master key is in {VARIABLE}")
    if scene.settings.home.absolute() in file.parents:
        remedy = f"Keep it elsewhere ([keys] master_key_file), or give it as {VARIABLE}."
        return bad("the master key lies in the home: a copy of the home opens everything", remedy)
    return good(f"the master key lies apart, in {file.parent}")


def _api_keys(scene: Scene) -> Verdict:
    query = select(api_keys.c.key_id).where(
        api_keys.c.revoked_at.is_(None),
        api_keys.c.expires_at > scene.now,
        api_keys.c.expires_at - api_keys.c.created_at > API_KEY_DAYS * _DAY_SECONDS + 1,
    )
    with scene.connect() as connection:
        long = connection.execute(query.order_by(api_keys.c.key_id)).scalars().all()
    if long:
        shown = ", ".join(long[:_SHOWN_MAX])
        remedy = "Give such a principal a key with a shorter life, and revoke the principal's old one."
        return bad(f"{len(long)} API keys are good for more than {API_KEY_DAYS} days: {shown}", remedy)
    return good(f"no API key is good for more than {API_KEY_DAYS} days")


CHECKS: Final = (
    Check("keys-rotated", Severity.HIGH, _rotated),
    Check("secret-files", Severity.HIGH, _files),
    Check("master-key-apart", Severity.LOW, _apart),
    Check("api-keys", Severity.LOW, _api_keys),
)
