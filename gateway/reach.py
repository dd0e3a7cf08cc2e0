"""Where a hand's requests may go, and which secrets go with them: a part of its manifest."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class SecretPlace(StrEnum):
    """Where in a request a secret goes. Never into the path, which everybody on the way writes down."""

    BEARER = "bearer"
    """``Authorization: Bearer`` (RFC 6750)."""
    BASIC = "basic"
    """``Authorization: Basic``, as the password of a user that the manifest names (RFC 7617)."""
    HEADER = "header"
    QUERY = "query"
    PASSWORD = "password"  # noqa: S105 - a place
    """The password of the user of a database or a mail server."""
    SIGNATURE = "signature"
    """Nowhere: the key by which a webhook's messages are signed."""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret that a hand names: the gateway puts it into the hand's requests, and the hand never has it.

    Attributes:
        store: which store keeps it; empty for a connection's.
        parameter: name of the header or the query parameter, for the places that have one.
        username: of the place ``basic``.
        targets: the only ``scheme://host:port`` that it goes to.
        connection: instead of a store: the connection whose token of the plan's subject it is.
        methods: the only methods of requests that carry it; empty is all.
        paths: the only paths of requests that carry it, as :class:`EgressRule` has them; empty is all.
    """

    name: str
    store: str
    place: SecretPlace
    targets: tuple[str, ...]
    parameter: str | None = None
    username: str | None = None
    connection: str | None = None
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def fits(self, origin: str, method: str, path: str) -> bool:
        """Whether a request carries it. Where it is bound to methods or paths, a request without one carries none."""
        if origin not in self.targets or (self.methods and method not in self.methods):
            return False
        return not self.paths or any(path_matches(pattern, path) for pattern in self.paths)

    @property
    def sure(self) -> bool:
        """Whether it is known before a call which requests carry it: all of them, to one place, and no person's consent
        stands between."""
        return self.connection is None and len(self.targets) == 1 and not self.methods and not self.paths

    def facts(self, version: str, target: str = "") -> dict[str, str]:
        """What entries say of it: which value, and whom it goes to."""
        place = {"store": self.store} if self.connection is None else {"connection": self.connection}
        facts = {"secret": self.name, **place, "version": version}
        return {**facts, "target": target} if target else facts

    @property
    def slot(self) -> tuple[str, str]:
        """What of a request it fills: two secrets of a hand never fill the same."""
        if self.place is SecretPlace.QUERY:
            return ("query", self.parameter or "")
        if self.place in {SecretPlace.PASSWORD, SecretPlace.SIGNATURE}:
            return (str(self.place), "")
        return ("header", (self.parameter or "authorization").lower())

    def placed(self, value: str) -> tuple[str, str]:
        """Name and content of the header or the query parameter that carries ``value``."""
        if self.place is SecretPlace.BEARER:
            return "Authorization", f"Bearer {value}"
        if self.place is SecretPlace.BASIC:
            pair = base64.b64encode(f"{self.username}:{value}".encode()).decode("ascii")
            return "Authorization", f"Basic {pair}"
        return self.parameter or "", value

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "store": self.store,
            "place": str(self.place),
            "parameter": self.parameter,
            "username": self.username,
            "targets": list(self.targets),
            **({} if self.connection is None else {"connection": self.connection}),
            **({"methods": list(self.methods)} if self.methods else {}),
            **({"paths": list(self.paths)} if self.paths else {}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SecretUse":
        """Rebuild from :meth:`document`."""
        return cls(
            name=document["name"],
            store=document["store"],
            place=SecretPlace(document["place"]),
            targets=tuple(document["targets"]),
            parameter=document["parameter"],
            username=document["username"],
            connection=document.get("connection"),
            methods=tuple(document.get("methods", ())),
            paths=tuple(document.get("paths", ())),
        )


def path_matches(pattern: str, path: str) -> bool:
    """Whether a path of a request, percent-encoded as it is sent, is one that ``pattern`` names.

    ``*`` as a whole segment is exactly one segment that is not empty; ``**`` as the last one is whatever follows the
    slash before it. Everything else is compared as text.
    """
    wanted, given = pattern.split("/"), path.split("/")
    if wanted[-1] == "**":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        one == other or (one == "*" and other != "") for one, other in zip(wanted, given, strict=True)
    )


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Where a hand's jail may send requests, and which. What no rule of the hand names is refused.

    Attributes:
        host: a name or address literal in lower case, compared as text.
        methods: of requests that are let through.
        paths: of requests that are let through: :func:`path_matches`.
        blind: the hand speaks TLS with the host itself; nothing of its requests is seen, and nothing is added.
        credential: the host checks step credentials: it is sent one, with a proof for each request.
        private_network: it may be at a private or loopback address.
    """

    scheme: str
    host: str
    port: int
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    blind: bool = False
    credential: bool = False
    private_network: bool = False

    @property
    def origin(self) -> str:
        """``scheme://host:port``, as secrets name their targets."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "scheme": self.scheme,
            "host": self.host,
            "port": self.port,
            "methods": list(self.methods),
            "paths": list(self.paths),
            "blind": self.blind,
            "credential": self.credential,
            "private_network": self.private_network,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "EgressRule":
        """Rebuild from :meth:`document`."""
        return cls(**{**document, "methods": tuple(document["methods"]), "paths": tuple(document["paths"])})
