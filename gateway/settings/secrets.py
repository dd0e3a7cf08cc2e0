"""Where the secrets lie that hands name, and where each of them may go."""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from gateway.reach import SecretPlace
from gateway.settings.base import Identifier, PathPattern, Section

SEALED: Final = "sealed"
"""The store that is always there: rows of the database, sealed under the data root."""

SecretKey = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9._-]{0,63}\.)?[a-z][a-z0-9_-]{0,62}$")]
"""``NAME`` of the default tenant's, ``TENANT.NAME`` of another's; a name has no dot."""
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$", max_length=300)]
_FRAMING: Final = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "dpop", "expect", "host",
        "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that say where a request ends, where it goes or what it is: no secret."""


class SecretStoreSettings(Section):
    """A place outside of the database where secrets are kept."""

    kind: Literal["environment", "files", "vault", "aws"] = Field(description="What kind of place it is.")
    variables: dict[SecretKey, Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]] = Field(
        {}, description="environment: secret (NAME, or TENANT.NAME) -> variable. No other variable is read."
    )
    directory: Path | None = Field(
        None, description="files: one file for each secret, NAME or TENANT.NAME, as Kubernetes mounts them."
    )
    url: str | None = Field(None, pattern=r"^https?://[^\s?#]+$", description="vault: address of Vault or OpenBao.")
    mount: str = Field(
        "secret", pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", description="vault: where its KV version 2 is."
    )
    namespace: str | None = Field(None, pattern=r"^[A-Za-z0-9._/-]+$", description="vault: its namespace.")
    token_file: Path | None = Field(
        None, description="vault: file with the token, read anew for each request; an agent may replace it."
    )
    ca_file: Path | None = Field(
        None, description="vault: authorities (PEM) of its certificate. Default: the system's."
    )
    private_network: bool = Field(
        False, description="vault: whether it may be at a private or loopback address, and there without TLS."
    )
    field: str = Field(
        "value", pattern=r"^[A-Za-z0-9._-]+$", description="vault: which field of a secret is the value."
    )
    region: str | None = Field(None, description="aws: region of Secrets Manager. Default: as the AWS tools find it.")
    endpoint_url: str | None = Field(
        None, pattern=r"^https?://[^\s]+$", description="aws: of a service that is not Amazon's. Default: Amazon's."
    )
    prefix: str = Field(
        "handrail/",
        pattern=r"^([A-Za-z0-9._-]+/)*$",
        description="vault, aws: what stands before TENANT/NAME in a secret's name there.",
    )

    @model_validator(mode="after")
    def _complete(self) -> "SecretStoreSettings":
        if self.kind == "environment":
            ours = sorted(name for name in self.variables.values() if name.startswith("HANDRAIL_"))
            if not self.variables or ours:
                raise ValueError(f"variables: {f'{ours[0]} is a setting of the gateway' if ours else 'name them'}")
        if self.kind == "files" and self.directory is None:
            raise ValueError("kind = 'files' needs directory")
        if self.kind == "vault":
            if self.url is None or self.token_file is None:
                raise ValueError("kind = 'vault' needs url and token_file")
            if not self.url.startswith("https://") and not self.private_network:
                raise ValueError("url must be https:// (http:// only with private_network)")
        return self


class SecretSettings(Section):
    """The secrets that hands name."""

    fresh_seconds: float = Field(
        2.0,
        ge=0,
        le=4,
        description="For how long a value is used again without asking its store. A change is everywhere after that; "
        "a store that is away stops its hands after that.",
    )
    timeout_seconds: float = Field(2.0, gt=0, le=10, description="How long a store may take to answer.")
    stores: dict[Identifier, SecretStoreSettings] = Field({}, description="Stores by name; see below.")

    @model_validator(mode="after")
    def _no_second_sealed(self) -> "SecretSettings":
        if SEALED in self.stores:
            raise ValueError(f"stores.{SEALED}: that one is always there, and has no settings")
        return self


class HandSecretSettings(Section):
    """A secret that a hand names. The hand never sees it: the gateway puts it into requests to the targets."""

    store: Identifier = Field(SEALED, description="Which store keeps it: sealed, or one of [secrets.stores].")
    place: SecretPlace = Field(SecretPlace.BEARER, description="Where in a request it goes. Never into the path.")
    parameter: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="header, query: name of the header or the parameter."
    )
    username: str | None = Field(None, pattern=r"^[\x21-\x39\x3b-\x7e]{1,128}$", description="basic: the user name.")
    targets: tuple[Origin, ...] = Field(
        (),
        max_length=16,
        description="Where it may go, scheme://host[:port]. Default: base_url. A password goes to its server.",
    )
    connection: Identifier | None = Field(
        None, description="Instead of a store: the [connections] whose token of the person who asked is sent (bearer)."
    )
    methods: tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], ...] = Field(
        (), description="Which requests carry it. Default: all to its targets."
    )
    paths: tuple[PathPattern, ...] = Field(
        (), max_length=64, description="Paths of requests that carry it, as those of egress. Default: all."
    )

    @model_validator(mode="after")
    def _complete(self) -> "HandSecretSettings":
        named = self.place in {SecretPlace.HEADER, SecretPlace.QUERY}
        if named != (self.parameter is not None):
            raise ValueError("place = 'header' and 'query' need parameter, and no other place takes one")
        if (self.place is SecretPlace.BASIC) != (self.username is not None):
            raise ValueError("place = 'basic' needs username, and no other place takes one")
        if self.place is SecretPlace.HEADER and (self.parameter or "").lower() in _FRAMING:
            raise ValueError(f"parameter: {self.parameter} says where a request ends or what it is, and is no secret")
        if self.place is SecretPlace.PASSWORD and self.targets:
            raise ValueError("place = 'password' takes no targets: it goes to the hand's database or mail server")
        if self.connection is not None and (self.place is not SecretPlace.BEARER or self.store != SEALED):
            raise ValueError("connection goes with no store, and with place = 'bearer' alone")
        for target in self.targets:
            origin_of(target)
        return self


def origin_of(url: str) -> str:
    """``scheme://host:port`` of a URL, in lower case and with its port. Raises ``ValueError`` where it has none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    if not host.isascii() or not host or not port or parts.username is not None or parts.password is not None:
        raise ValueError(f"{url}: give scheme, host and port")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
