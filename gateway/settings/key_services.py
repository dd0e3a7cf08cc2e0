"""What holds private keys in the gateway's stead: a token, Transit, AWS KMS."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.base import Section

KeyPurpose = Literal["connector", "step", "receipt", "checkpoint", "policy", "approval"]
"""The values of ``gateway.ports.Purpose``, of which settings know nothing."""
RemotePurpose = Literal["checkpoint", "policy", "approval"]
"""Those whose signatures are made in threads. Every plan waits for the others, on the event loop."""
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
_PATH: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$"
_PURPOSES: Final = (
    "Whose keys are made there from now on; none where it only serves those it holds. Each signature is a call over "
    "the network."
)


def _guarded(url: str) -> str:
    """The URL of a service that is given secrets: TLS, but on this machine."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment or parts.scheme not in {"http", "https"}:
        raise ValueError("not https://HOST[:PORT][/PREFIX]")
    if parts.scheme == "http" and not _here(parts.hostname):
        raise ValueError("plain http is for a loopback address alone; use https")
    return url


def _here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


GuardedUrl = Annotated[str, Field(max_length=1024, pattern=r"^[!-~]+$"), AfterValidator(_guarded)]


class Pkcs11Settings(Section):
    """A PKCS#11 token that makes and holds private keys (the extra pkcs11)."""

    module: Path = Field(description="The vendor's library, for example /usr/lib/softhsm/libsofthsm2.so.")
    token: str = Field(min_length=1, max_length=32, description="The token's label.")
    pin_file: Path = Field(description="File with the PIN of the token's user.")
    purposes: tuple[KeyPurpose, ...] = Field(
        ("checkpoint",),
        description="Whose keys are made in the token from now on; none where it only serves those it holds. A "
        "signature takes as long as the token takes, and every plan waits for connector, step and receipt.",
    )


class TransitSettings(Section):
    """The Transit engine of OpenBao or Vault: makes and holds private keys, wraps the data root."""

    url: GuardedUrl = Field(description="The server, https://HOST:PORT; plain http on a loopback address alone.")
    ca_file: Path | None = Field(
        None, description="PEM of the authorities that vouch for the server. Default: those of the system."
    )
    namespace: str | None = Field(None, pattern=_PATH, max_length=256, description="Namespace of engine and login.")
    mount: str = Field("transit", pattern=_PATH, max_length=128, description="Where the engine is mounted.")
    auth: Literal["token", "approle", "jwt"] = Field(
        "token", description="How to log in: a token that is in the file, an AppRole, or a JWT (Kubernetes' too)."
    )
    auth_mount: str | None = Field(
        None,
        pattern=_PATH,
        max_length=128,
        description="Where the method is mounted. Default: approle or jwt; for Kubernetes' method: kubernetes.",
    )
    role: str | None = Field(
        None, min_length=1, max_length=256, description="AppRole: the role id. JWT: the role's name."
    )
    credential_file: Path = Field(
        description="File with the token, the AppRole's secret id or the JWT. Read anew each time it is needed."
    )
    timeout_seconds: float = Field(1.0, gt=0, le=10, description="For one whole call.")
    purposes: tuple[RemotePurpose, ...] = Field((), description=_PURPOSES)
    key_prefix: str = Field("handrail", pattern=_NAME, description="What the names of the keys made there begin with.")
    root_key: str | None = Field(
        None, pattern=_NAME, description="Name of the key that wraps the data root, in the master key's stead."
    )
    root_key_previous: str | None = Field(
        None, pattern=_NAME, description="Name of the key that wrapped it before, while that is being changed."
    )

    @model_validator(mode="after")
    def _role_goes_with_a_login(self) -> "TransitSettings":
        if (self.auth == "token") != (self.role is None):
            raise ValueError("auth = approle and jwt take a role, and auth = token takes none")
        return self

    @model_validator(mode="after")
    def _the_root_is_none_of_its_own(self) -> "TransitSettings":
        names = [name for name in (self.root_key, self.root_key_previous) if name is not None]
        if any(name.startswith(f"{self.key_prefix}-") for name in names):
            raise ValueError("root_key begins with key_prefix: the gateway may delete what does, so name it otherwise")
        if len(set(names)) != len(names):
            raise ValueError("root_key and root_key_previous are the same; versions of a key need no root_key_previous")
        return self


class AwsKmsSettings(Section):
    """AWS KMS: makes and holds private keys, wraps the data root (the extra aws)."""

    region: str | None = Field(None, pattern=r"^[a-z0-9-]{1,32}$", description="Default: as the AWS tools find it.")
    endpoint_url: GuardedUrl | None = Field(
        None,
        description="Of a VPC endpoint; plain http on a loopback address alone. Default: the region's.",
    )
    timeout_seconds: float = Field(1.0, gt=0, le=10, description="For one attempt as a whole.")
    purposes: tuple[RemotePurpose, ...] = Field((), description=_PURPOSES)
    root_key: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9:/_-]{1,256}$",
        description="ARN, id or alias of the key that wraps the data root, in the master key's stead.",
    )
    root_key_previous: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9:/_-]{1,256}$",
        description="The key that wrapped it before, while that is being changed.",
    )
