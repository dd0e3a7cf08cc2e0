"""What a hand can do: what it says of itself, and what only the operator may say of it."""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.canonical import sha256_canonical
from gateway.model import EMPTY

HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?|[0-9a-f:.]{2,45}")
"""A host as manifests and decisions name one: a name in lower case (an international one in its ASCII form) or an
address literal, without port and brackets."""


class SideEffects(StrEnum):
    """What an action may change, as the operator declares it; undeclared is ``external``, the worst."""

    NONE = "none"
    REVERSIBLE = "reversible"
    IRREVERSIBLE = "irreversible"
    EXTERNAL = "external"


class ArgumentRole(StrEnum):
    """What an argument means to a policy."""

    RECIPIENT = "recipient"
    URL = "url"
    ACCOUNT = "account"
    PATH = "path"
    AMOUNT = "amount"
    CONTENT = "content"
    RESOURCE = "resource"


class Trust(StrEnum):
    """How far results of a hand may vouch for a value; undeclared is ``untrusted``."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


class PersonalData(StrEnum):
    """What becomes of personal data that is found in a result."""

    TAG = "tag"
    """Its kinds and how many of each are on record and shown; it stays."""
    REDACT = "redact"
    """It is taken out before anything else sees the result."""
    OFF = "off"
    """Nobody looks."""


EVERY_KIND: Final = "*"
"""In a list of kinds of personal data: all that the gateway knows."""


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


@dataclass(frozen=True, slots=True)
class ActionManifest:
    """One action of a hand: what it says of itself, and what the operator says of it."""

    name: str
    description: str
    args_schema: Mapping[str, Any]
    result_schema: Mapping[str, Any] | None = None
    title: str | None = None
    annotations: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """What the tool claims about itself; shown to people, never to the policy."""
    side_effects: SideEffects = SideEffects.EXTERNAL
    idempotent: bool = False
    cacheable: bool = False
    cache_seconds: float = 60.0
    """For how long, where it is cacheable."""
    roles: Mapping[str, ArgumentRole] = field(default_factory=lambda: EMPTY)
    """JSON pointer (``*`` matches array items) -> role."""
    data_subjects: tuple[str, ...] = ()
    """JSON pointers into args or result that name data subjects."""
    trust: Trust | None = None
    result_trust: Mapping[str, Trust] = field(default_factory=lambda: EMPTY)
    """JSON pointer into ``{content, structured}`` (``*`` matches array items) -> trust of what is there."""
    deadline_seconds: float = 30.0
    result_max_bytes: int = 1_048_576
    personal_data: PersonalData = PersonalData.TAG
    personal_kinds: tuple[str, ...] = (EVERY_KIND,)
    """The kinds of personal data that are looked for."""

    def trust_at(self, path: Sequence[str], otherwise: Trust) -> Trust:
        """How far the part of a result at ``path`` (reference tokens, escaped) may vouch: the longest pointer that
        covers it says; where two are as long, the stricter one."""
        best, word = -1, self.trust or otherwise
        for pointer, trust in self.result_trust.items():
            pattern = pointer.split("/")[1:]
            if len(pattern) > len(path) or not all(map(_matches, pattern, path)):
                continue
            if len(pattern) > best or (len(pattern) == best and trust is Trust.UNTRUSTED):
                best, word = len(pattern), trust
        return word

    def untrusted_below(self, path: Sequence[str]) -> bool:
        """Whether the operator said of anything in the part at ``path`` that it is untrusted."""
        return any(
            trust is Trust.UNTRUSTED and len(pattern) > len(path) and all(map(_matches, pattern, path))
            for pattern, trust in ((pointer.split("/")[1:], trust) for pointer, trust in self.result_trust.items())
        )


def _personal(action: ActionManifest) -> dict[str, Any]:
    """What is said of personal data, where it is not what holds for every action."""
    said: dict[str, Any] = {}
    if action.personal_data is not PersonalData.TAG:
        said["personal_data"] = str(action.personal_data)
    if action.personal_kinds != (EVERY_KIND,):
        said["personal_kinds"] = list(action.personal_kinds)
    return said


def _matches(part: str, name: str) -> bool:
    return part == name or (part == "*" and name.isdigit())


@dataclass(frozen=True, slots=True)
class Slo:
    """What the operator expects of a hand.

    Attributes:
        availability: part of its calls that it shall answer; ``None`` for nothing said.
        latency_seconds: within which it shall answer.
        latency_quantile: part of its answers that shall be within that.
    """

    availability: float | None
    latency_seconds: float | None
    latency_quantile: float | None
    window_days: int

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a hand can do. Pinned by :attr:`digest`; what is not pinned is not listed."""

    hand: str
    adapter: str
    actions: Mapping[str, ActionManifest]
    region: str | None = None
    trust: Trust = Trust.UNTRUSTED
    labels: tuple[str, ...] = ()
    instructions: str = ""
    """The server's own words to a model; pinned because they steer it."""
    claim_seconds: float | None = None
    """Of a remote hand: how long an offered step waits to be claimed. Other hands are called, and have none."""
    secrets: tuple[SecretUse, ...] = ()
    """What the gateway adds to its requests."""
    egress: tuple[EgressRule, ...] = ()
    """What its jail may reach; nothing where it is empty."""
    slo: Slo | None = None
    endpoint: str | None = None
    """URL of an MCP server that is reached over HTTP."""
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256_canonical(self.document()))

    @property
    def remote(self) -> bool:
        """Whether the hand comes for its steps itself, instead of being called."""
        return self.claim_seconds is not None

    def document(self) -> dict[str, Any]:
        """The JSON document over which the digest goes."""
        remote = {"transport": "remote", "claim_seconds": self.claim_seconds} if self.remote else {}
        return {
            **remote,
            "v": 1,
            "hand": self.hand,
            "adapter": self.adapter,
            "region": self.region,
            "trust": str(self.trust),
            "labels": list(self.labels),
            "instructions": self.instructions,
            **({"endpoint": self.endpoint} if self.endpoint is not None else {}),
            **({"secrets": [secret.document() for secret in self.secrets]} if self.secrets else {}),
            **({"egress": [rule.document() for rule in self.egress]} if self.egress else {}),
            **({"slo": self.slo.document()} if self.slo is not None else {}),
            "actions": {
                name: {
                    "description": action.description,
                    "title": action.title,
                    "annotations": dict(action.annotations),
                    "args_schema": action.args_schema,
                    "result_schema": action.result_schema,
                    "side_effects": str(action.side_effects),
                    "idempotent": action.idempotent,
                    "cacheable": action.cacheable,
                    **({"cache_seconds": action.cache_seconds} if action.cacheable else {}),
                    "roles": {pointer: str(role) for pointer, role in action.roles.items()},
                    "data_subjects": list(action.data_subjects),
                    "trust": None if action.trust is None else str(action.trust),
                    "result_trust": {pointer: str(trust) for pointer, trust in action.result_trust.items()},
                    "deadline_seconds": action.deadline_seconds,
                    "result_max_bytes": action.result_max_bytes,
                    **_personal(action),
                }
                for name, action in self.actions.items()
            },
        }

    def trust_at(self, action: str, pointer: str) -> Trust:
        """How far the part of an action's result at a JSON pointer may vouch; of a container, the least of what the
        operator said of anything in it. Tools repeat their structure as text: content that the operator said nothing of
        vouches no further than the structure does."""
        known = self.actions[action]
        path = pointer.split("/")[1:]
        unsaid = path[:1] == ["content"] and not any(one.startswith("/content") for one in known.result_trust)
        if known.untrusted_below(path) or (unsaid and known.untrusted_below(["structured"])):
            return Trust.UNTRUSTED
        return known.trust_at(path, self.trust)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Manifest":
        """Rebuild a manifest from :meth:`document`; its digest is computed anew."""
        return cls(
            hand=document["hand"],
            adapter=document["adapter"],
            region=document["region"],
            trust=Trust(document["trust"]),
            labels=tuple(document["labels"]),
            instructions=document["instructions"],
            claim_seconds=document.get("claim_seconds"),
            endpoint=document.get("endpoint"),
            secrets=tuple(SecretUse.from_document(one) for one in document.get("secrets", ())),
            egress=tuple(EgressRule.from_document(one) for one in document.get("egress", ())),
            slo=Slo(**document["slo"]) if "slo" in document else None,
            actions={
                name: ActionManifest(
                    name=name,
                    description=action["description"],
                    title=action["title"],
                    annotations=action["annotations"],
                    args_schema=action["args_schema"],
                    result_schema=action["result_schema"],
                    side_effects=SideEffects(action["side_effects"]),
                    idempotent=action["idempotent"],
                    cacheable=action["cacheable"],
                    cache_seconds=action.get("cache_seconds", 60.0),
                    roles={pointer: ArgumentRole(role) for pointer, role in action["roles"].items()},
                    data_subjects=tuple(action["data_subjects"]),
                    trust=None if action["trust"] is None else Trust(action["trust"]),
                    result_trust={pointer: Trust(trust) for pointer, trust in action["result_trust"].items()},
                    deadline_seconds=action["deadline_seconds"],
                    result_max_bytes=action["result_max_bytes"],
                    personal_data=PersonalData(action.get("personal_data", PersonalData.TAG)),
                    personal_kinds=tuple(action.get("personal_kinds", (EVERY_KIND,))),
                )
                for name, action in document["actions"].items()
            },
        )
