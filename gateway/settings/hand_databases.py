"""The database that a hand speaks SQL to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from gateway.settings.base import Section

DatabaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,62}$")]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$")]


class HandDatabaseSettings(Section):
    """Where the database is, and how far statements may go."""

    dialect: Literal["postgresql", "mariadb", "sqlite"] = Field(description="Which database it is.")
    host: str | None = Field(
        None,
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]{2,39})$",
        description="postgresql, mariadb: name or address of the server.",
    )
    port: int | None = Field(None, ge=1, le=65535, description="Its port. Default: 5432, 3306.")
    name: DatabaseName | None = Field(None, description="postgresql, mariadb: name of the database.")
    user: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,63}$",
        description="postgresql, mariadb: as whom. The password is a secret in the place `password`.",
    )
    path: Path | None = Field(None, description="sqlite: the file; an absolute path without symbolic links.")
    tls: bool = Field(True, description="Whether the server has to prove by TLS who it is. Off: private_network only.")
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")
    schemas: tuple[DatabaseName, ...] = Field(
        (),
        max_length=16,
        description="Schemas (mariadb: databases) that statements may name; the first is that of names without one. "
        "Default: public (mariadb: name; sqlite: main).",
    )
    writes: tuple[Literal["insert", "update", "delete"], ...] = Field(
        (), description="What statements may do besides reading. Default: nothing."
    )
    functions: tuple[FunctionName, ...] = Field(
        (),
        max_length=256,
        description="Functions of the database's own that statements may call: you vouch that they touch no table "
        "and nothing outside.",
    )
    connections_max: int = Field(4, ge=1, le=32, description="Connections, and threads that wait for them.")
    rows_max: int = Field(1_000, ge=1, le=100_000, description="Rows of one result; the rest is cut, and said so.")
    changed_rows_max: int = Field(
        1_000, ge=1, le=1_000_000, description="A statement that would change more rows than these is rolled back."
    )

    @model_validator(mode="after")
    def _complete(self) -> "HandDatabaseSettings":
        remote = (self.host, self.name, self.user)
        if self.dialect == "sqlite":
            if self.path is None or not self.path.is_absolute():
                raise ValueError("dialect = 'sqlite' needs path, an absolute one")
            if any(one is not None for one in (*remote, self.port, self.ca_file)):
                raise ValueError("dialect = 'sqlite' has a path, and neither host, port, name, user nor ca_file")
            if self.schemas not in {(), ("main",)}:
                raise ValueError("schemas: a file of sqlite has one, main")
        elif any(one is None for one in remote) or self.path is not None:
            raise ValueError(f"dialect = '{self.dialect}' needs host, name and user, and has no path")
        return self

    @property
    def default_schemas(self) -> tuple[str, ...]:
        """The schemas that statements may name; the first one is that of names without any."""
        usual = {"postgresql": "public", "sqlite": "main"}.get(self.dialect, self.name or "")
        return self.schemas or (usual,)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of a server."""
        return self.host or "", self.port or {"postgresql": 5432}.get(self.dialect, 3306)

    @property
    def origin(self) -> str | None:
        """``scheme://host:port``, to which alone its password goes; ``None`` for a file."""
        if self.dialect == "sqlite":
            return None
        host, port = self.address
        return f"{self.dialect}://{f'[{host}]' if ':' in host else host.lower()}:{port}"
