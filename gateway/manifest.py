"""What a hand can do: what it says of itself, and what only the operator may say of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.canonical import sha256_canonical
from gateway.model import EMPTY
from gateway.reach import EgressRule, SecretUse

HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?|[0-9a-f:.]{2,45}")
"""A host as manifests and decisions name one: a name in lower case (an international one in its ASCII form) or an
address literal, without port and brackets."""


DEFAULT_PROFILE: Final = "default"
"""The jail profile of a hand whose operator names none."""
CLIENT: Final = "client"
"""The adapter of hands whose actions the client itself runs."""
MODEL: Final = "anthropic"
"""The adapter of hands that are models."""
MESSAGES: Final = "model.messages"
"""The action by which one is asked: its args are the body of a request to the Messages API."""
COUNT_TOKENS: Final = "model.count_tokens"
"""The action by which a request is measured: the provider is told all of it."""
CONVERSATIONS: Final = frozenset({MESSAGES, "batches.create"})
"""Actions of a model's hand whose args are a conversation, or several, that the model goes on with."""


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


class Oversize(StrEnum):
    """What becomes of a result that is larger than allowed."""

    FAIL = "fail"
    """The step fails, and the result is withheld."""
    TRUNCATE = "truncate"
    """Its text is cut, and marked; the step fails where that is not enough."""


EVERY_KIND: Final = "*"
"""In a list of kinds of personal data: all that the gateway knows."""


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
    oversize: Oversize = Oversize.FAIL

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


def _results(action: ActionManifest) -> dict[str, Any]:
    """What is said of its results, where it is not what holds for every action."""
    said: dict[str, Any] = {}
    if action.personal_data is not PersonalData.TAG:
        said["personal_data"] = str(action.personal_data)
    if action.personal_kinds != (EVERY_KIND,):
        said["personal_kinds"] = list(action.personal_kinds)
    if action.oversize is not Oversize.FAIL:
        said["oversize"] = str(action.oversize)
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
class BindUse:
    """A directory or file of the host that a hand's jail shows: its place there, and whether the hand may write."""

    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class JailUse:
    """What of a hand runs in a jail here, and what it is shown there.

    Attributes:
        command: program and arguments, where they are the hand's and not an action's.
        profile: which limits hold, where a decision names no others.
        env: variables beside those that every jail has.
    """

    command: tuple[str, ...]
    profile: str
    binds: tuple[BindUse, ...]
    env: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """As JSON, without what is empty. Binds are named by their targets, so that a difference is one of a place."""
        said = {
            "command": list(self.command),
            "profile": self.profile,
            "binds": {bind.target: {"source": bind.source, "writable": bind.writable} for bind in self.binds},
            "env": dict(self.env),
        }
        return {name: value for name, value in said.items() if value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "JailUse":
        """Rebuild it from :meth:`document`."""
        binds = tuple(BindUse(target=target, **bind) for target, bind in sorted(document.get("binds", {}).items()))
        return cls(tuple(document.get("command", ())), document["profile"], binds, document.get("env", {}))


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
    jail: JailUse | None = None
    """``None`` where the operator said nothing of one."""
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """The operator's words to a third party's adapter, as JSON."""
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256_canonical(self.document()))

    @property
    def client(self) -> bool:
        """Whether whoever asks for a step runs it: it is decided and let go here, and never called from here."""
        return self.adapter == CLIENT

    @property
    def model(self) -> bool:
        """Whether the hand is a model."""
        return self.adapter == MODEL

    def converses(self, action: str) -> bool:
        """Whether the args of an action are conversations with a model."""
        return self.model and action in CONVERSATIONS

    def tells(self, action: str) -> bool:
        """Whether the args of an action are requests to a model, from which something can be taken out."""
        return self.converses(action) or (self.model and action == COUNT_TOKENS)

    def keeps_apart(self, action: str) -> bool:
        """Whether an action is about a batch, which the provider shows to everybody who uses the hand's key. Whose it
        is, is known where it was made (``MESSAGES_API``), and nowhere else may it be asked for."""
        return self.model and action.startswith("batches.")

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
            **({"jail": self.jail.document()} if self.jail is not None else {}),
            **({"options": dict(self.options)} if self.options else {}),
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
                    **_results(action),
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
            jail=JailUse.from_document(document["jail"]) if "jail" in document else None,
            options=document.get("options", EMPTY),
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
                    oversize=Oversize(action.get("oversize", Oversize.FAIL)),
                )
                for name, action in document["actions"].items()
            },
        )
