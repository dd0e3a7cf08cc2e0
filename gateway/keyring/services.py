"""What holds private keys or wraps the root in the gateway's stead, as the settings say. Blocking."""

import os
from collections.abc import Mapping, Sequence

from gateway.ports import Purpose
from gateway.secret_files import read_secret
from gateway.settings import AwsKmsSettings, Settings, TransitSettings
from keys.errors import KeyUnavailable
from keys.stores.aws_kms.client import Kms
from keys.stores.aws_kms.halves import KmsHalves
from keys.stores.aws_kms.wrapping import KmsWrapper
from keys.stores.halves import ByPurpose, Halves
from keys.stores.master import PREVIOUS, VARIABLE, MasterKey
from keys.stores.pkcs11 import Token
from keys.stores.root import open_root
from keys.stores.transit.api import Transit
from keys.stores.transit.halves import TransitHalves
from keys.stores.transit.http import Http
from keys.stores.transit.login import Exchange, Login, TokenFile, read_credential
from keys.stores.transit.wrapping import TransitWrapper
from keys.stores.wrapping import Wrapper, Wrappers


def halves(settings: Settings) -> ByPurpose:
    """Where private halves are made and used."""
    keys, chosen, places = settings.keys, dict[Purpose, Halves](), list[Halves]()
    for configured, place in (
        (keys.pkcs11, _token(settings)),
        (keys.transit, _transit_halves(settings)),
        (keys.aws_kms, None if keys.aws_kms is None else KmsHalves(kms(keys.aws_kms))),
    ):
        if configured is not None and place is not None:
            places.append(place)
            chosen.update(dict.fromkeys(map(Purpose, configured.purposes), place))
    return ByPurpose(chosen, places)


def has_wrapper(settings: Settings) -> bool:
    """Whether what wraps the root is there: a key of a service is configured, or a master key is at hand."""
    return _in_service(settings, "root_key") or VARIABLE in os.environ or settings.master_key_file.is_file()


def is_in_service(settings: Settings) -> bool:
    """Whether a key of a service wraps the root."""
    return _in_service(settings, "root_key")


def wrappers(settings: Settings, *, make: bool = False) -> Wrappers:
    """What wraps the root, and what did before where that is given.

    Args:
        make: make the master key where that wraps it and is missing; beside a root, only once what wrapped it before
            opened it.

    Raises:
        KeyUnavailable: one cannot be read; MasterKeyUnsafe among them.
    """
    previous = _previous(settings)
    current = _of_service(settings, "root_key")
    if current is None:
        if make and previous is not None and settings.root_file.exists() and not has_wrapper(settings):
            open_root(settings.root_file, Wrappers(previous))
        current = MasterKey.load(settings.master_key_file, make=make)
    return Wrappers(current, previous)


def previous_is_given(settings: Settings) -> bool:
    """Whether what wrapped the root before is named."""
    master = settings.keys.master_key_previous_file is not None or PREVIOUS in os.environ
    return master or _in_service(settings, "root_key_previous")


def try_services(settings: Settings) -> None:
    """Log in to each service that is configured, and look for the rights that its use takes.

    Raises:
        KeyUnavailable: one cannot be used as it is configured.
        SettingsError: a file that the configuration names cannot be read.
    """
    keys = settings.keys
    if (token := _token(settings)) is not None:
        token.log_in()
        token.close()
    if keys.transit is not None:
        _try_transit(keys.transit)
    if keys.aws_kms is not None:
        service = kms(keys.aws_kms)
        for name in (keys.aws_kms.root_key, keys.aws_kms.root_key_previous):
            if name is not None:
                KmsWrapper(service, name).look()


def described(settings: Settings) -> Sequence[str]:
    """What is configured, for people: which service makes which keys, and whose key wraps the root."""
    keys, found = settings.keys, []
    if keys.pkcs11 is not None:
        found.append(_serves(f"token {keys.pkcs11.token}", keys.pkcs11.purposes))
    if keys.transit is not None:
        found.append(_serves(f"Transit at {keys.transit.url}", keys.transit.purposes, keys.transit.root_key))
    if keys.aws_kms is not None:
        found.append(_serves("AWS KMS", keys.aws_kms.purposes, keys.aws_kms.root_key))
    return found


def transit(settings: TransitSettings) -> Transit:
    """The server, as the gateway logs in to it. Nothing is sent yet."""
    http = Http(settings.url, settings.ca_file, settings.timeout_seconds)
    return Transit(http, _login(settings, http), settings.namespace)


def kms(settings: AwsKmsSettings) -> Kms:
    """AWS KMS in the region of the settings. Raises ``KeyUnavailable`` without the SDK, or a region."""
    return Kms(settings.region, settings.endpoint_url, settings.timeout_seconds)


def _serves(service: str, purposes: Sequence[str], root_key: str | None = None) -> str:
    uses = [*purposes, *([] if root_key is None else [f"wraps the root by {root_key}"])]
    return f"{service}: {', '.join(uses) or 'no new keys'}"


def _login(settings: TransitSettings, http: Http) -> Login:
    file, role = settings.credential_file, settings.role
    if settings.auth == "token" or role is None:
        return TokenFile(file)
    names = ("role_id", "secret_id") if settings.auth == "approle" else ("role", "jwt")

    def posted() -> Mapping[str, str]:
        return dict(zip(names, (role, read_credential(file)), strict=True))

    headers = {} if settings.namespace is None else {"X-Vault-Namespace": settings.namespace}
    return Exchange(http, f"/v1/auth/{settings.auth_mount or settings.auth}/login", headers, posted)


def _token(settings: Settings) -> Token | None:
    configured = settings.keys.pkcs11
    if configured is None:
        return None
    return Token(configured.module, configured.token, read_secret(configured.pin_file, "keys.pkcs11.pin_file"))


def _transit_halves(settings: Settings) -> TransitHalves | None:
    configured = settings.keys.transit
    if configured is None:
        return None
    return TransitHalves(transit(configured), configured.mount, configured.key_prefix)


def _try_transit(configured: TransitSettings) -> None:
    """Raises ``KeyUnavailable`` naming each right that the login does not have."""
    service = transit(configured)
    needed: dict[str, Sequence[str]] = {}
    if configured.purposes:
        needed.update(TransitHalves(service, configured.mount, configured.key_prefix).rights())
    for name in (configured.root_key, configured.root_key_previous):
        if name is not None:
            needed.update(TransitWrapper(service, configured.mount, name).rights())
    lacking = service.lacks(needed) if needed else ()
    service.close()
    if lacking:
        raise KeyUnavailable(f"{service.where}: the login may not: {', '.join(lacking)}")


def _of_service(settings: Settings, member: str) -> Wrapper | None:
    """The key of a service that ``root_key`` or ``root_key_previous`` names."""
    configured, aws = settings.keys.transit, settings.keys.aws_kms
    if configured is not None and (name := getattr(configured, member)) is not None:
        return TransitWrapper(transit(configured), configured.mount, name)
    if aws is not None and (name := getattr(aws, member)) is not None:
        return KmsWrapper(kms(aws), name)
    return None


def _in_service(settings: Settings, member: str) -> bool:
    tables = (settings.keys.transit, settings.keys.aws_kms)
    return any(one is not None and getattr(one, member) is not None for one in tables)


def _previous(settings: Settings) -> Wrapper | None:
    master = MasterKey.load_previous(settings.keys.master_key_previous_file)
    service = _of_service(settings, "root_key_previous")
    if master is not None and service is not None:
        raise KeyUnavailable(f"one key wrapped the data root before: give {PREVIOUS}, or root_key_previous")
    return master or service
