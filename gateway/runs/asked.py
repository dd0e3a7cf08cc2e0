"""What whoever began a run asked for: the part of it that is personal, sealed in the side table until it is erased."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.canonical import canonical
from gateway.model import Principal, Role, Shown


@dataclass(frozen=True, slots=True)
class Asked:
    """The request, and what its author was allowed then.

    Attributes:
        brain: the one that was named; ``None`` where the gateway chose.
        data_classes: of what the model may be shown in this run.
        roles, scope: the author's roles and hands as they called: a narrowed login does not grow by a run that outlives
            it.
        shown: by what they called: the run ends with it.
    """

    prompt: str
    system: str = ""
    purpose: str | None = None
    brain: str | None = None
    data_classes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    scope: tuple[str, ...] | None = None
    shown: Shown = field(default_factory=Shown)

    def document(self) -> bytes:
        """Canonical JSON."""
        return canonical(
            {
                "v": 1,
                "prompt": self.prompt,
                "system": self.system,
                "purpose": self.purpose,
                "brain": self.brain,
                "data_classes": list(self.data_classes),
                "roles": list(self.roles),
                "scope": None if self.scope is None else list(self.scope),
                "key_id": self.shown.key_id,
                "links": list(self.shown.links),
            }
        )

    @classmethod
    def from_document(cls, raw: bytes) -> "Asked":
        """Rebuild from :meth:`document`."""
        said: Mapping[str, Any] = orjson.loads(raw)
        return cls(
            said["prompt"],
            said["system"],
            said["purpose"],
            said["brain"],
            tuple(said["data_classes"]),
            tuple(said["roles"]),
            None if said["scope"] is None else tuple(said["scope"]),
            Shown(said["key_id"], tuple(said["links"])),
        )

    def by(self, author: Principal, shown: Shown) -> "Asked":
        """The same, as this author asks it, who called by what they showed."""
        scope = None if author.hands is None else tuple(sorted(author.hands))
        return replace(self, roles=tuple(sorted(map(str, author.roles))), scope=scope, shown=shown)

    def narrowed(self, person: Principal) -> Principal:
        """The author as they are now, with nothing that they had not when they asked."""
        hands = person.hands
        if self.scope is not None:
            hands = frozenset(self.scope) if hands is None else hands & frozenset(self.scope)
        return replace(person, roles=person.roles & frozenset(map(Role, self.roles)), hands=hands)
