"""What a context remembers: scalar values, and where they came from. No I/O.

Remembering is cheap: what comes in is kept as it is, and taken apart once, before the next round is judged. Much of it
is taken apart in a thread: one mebibyte takes a few tenths of a second, and other plans have to go on. What does not
fit any more is not remembered, so that what came first stays first; it is *unknown*, and never counts as trusted.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from gateway.manifest import ActionManifest, ArgumentRole, Manifest, Trust
from gateway.policy.values import compact, grouped_in, link, links, plain, scalars, stands_in, unseparated

ITEMS_MAX: Final = 1024
"""Requests and results that one context remembers."""
BLOCKS_MAX: Final = 16_384
"""Blocks of conversations with models that one context tells apart."""
REQUESTS_MAX_BYTES: Final = 1_048_576
"""The user's words that one context remembers."""
VALUES_MAX: Final = 20_000
"""Values that one context tells apart. Beyond them an untrusted one stands in the texts alone, where it is found too,
and a trusted one vouches for nothing."""
SEARCHED_MAX_CHARACTERS: Final = 33_554_432
"""Characters of texts that are searched in one round, and"""
GROUPED_MAX_CHARACTERS: Final = 2_097_152
"""those among them in which a number is looked for in groups, which is slow. A value that is over is unknown."""
LOOKUPS_MAX: Final = 512
"""Values that are looked for in one round: a plan of ten thousand recipients must keep nobody else waiting."""
VOUCHED_MAX: Final = 1024
"""Characters of a value that can be told to be another one as a whole; longer ones are texts, in which values stand."""


class Source(StrEnum):
    """Where a value came from. ``NEW``: from nowhere that is remembered."""

    REQUEST = "request"
    RESULT = "result"
    OPERATOR = "operator"
    APPROVED = "approved"
    NEW = "new"


class Match(StrEnum):
    """How a value was found: byte for byte, in another spelling, or inside a longer text."""

    EXACT = "exact"
    NORMALISED = "normalised"
    CONTAINED = "contained"


@dataclass(frozen=True, slots=True)
class Origin:
    """One source: a user's request, or what of one result is trusted, or is not."""

    source: Source
    plan_id: str = ""
    step_id: str = ""
    hand: str = ""
    action: str = ""
    trust: Trust | None = None
    side_effects: str = ""
    """Of the approved call."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a value was found."""

    origin: Origin
    match: Match


@dataclass(slots=True)
class _Text:
    """Everything of one origin that is not a value as a whole, as one text."""

    origin: Origin
    plain: str
    packed: str
    """Without what may stand between the groups of a number."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to take apart later."""

    origin: Origin
    content: bytes
    action: ActionManifest | None = None


@dataclass(slots=True)
class Memory:
    """The values of one context, in the order in which they came."""

    bytes_max: int
    size_bytes: int = 0
    full: bool = False
    """Something was not remembered."""
    new_bytes: int = 0
    """Of what was not taken apart yet."""
    _new: list[Item] = field(default_factory=list)
    _busy: bool = False
    _count: int = 0
    _requested_bytes: int = 0
    _requested: set[str] = field(default_factory=set)
    """Plans whose request is remembered."""
    _heard_bytes: int = 0
    _heard: set[bytes] = field(default_factory=set)
    """Digests of the blocks that are remembered: a conversation repeats all of them each turn."""
    _lookups: int = 0
    _searched: int = 0
    _grouped: int = 0
    _known: int = 0
    _whole: dict[str, list[tuple[int, Origin, str]]] = field(default_factory=dict)
    """Spelling -> order, origin and value, of each kind of origin the first."""
    _links: dict[str, list[tuple[int, Origin]]] = field(default_factory=dict)
    _texts: list[tuple[int, _Text]] = field(default_factory=list)
    _approved: dict[tuple[ArgumentRole, str], Origin] = field(default_factory=dict)

    # --- feeding -----------------------------------------------------------------------------------------------------

    def request(self, text: str, plan_id: str) -> int:
        """The user's words, from an issuer that may attest them. Returns the bytes that are kept.

        They have room of their own: however much was read, what the user says next is heard.
        """
        item = Item(Origin(Source.REQUEST, plan_id), text.encode("utf-8", "surrogatepass"))
        if plan_id in self._requested or self._requested_bytes + len(item.content) > REQUESTS_MAX_BYTES:
            return 0
        self._requested.add(plan_id)
        self._requested_bytes += len(item.content)
        return self._take(item)

    def result(
        self, document: bytes, plan_id: str, step_id: str, manifest: Manifest | None, names: tuple[str, str]
    ) -> int:
        """What a caller was shown of a step: ``{content, structured}`` as JSON. Returns the bytes that are kept.

        Args:
            manifest: by which the step was judged; where it is not known any more, nothing of the result is trusted.
            names: hand and action.
        """
        action = None if manifest is None else manifest.actions.get(names[1])
        trust = Trust.UNTRUSTED if manifest is None or action is None else manifest.trust
        # A copy: what a serialiser returns can hold a block far larger than its bytes for as long as it lives.
        content = bytes(memoryview(document))
        return self._keep(Item(Origin(Source.RESULT, plan_id, step_id, *names, trust), content, action))

    def heard(self, blocks: Iterable[Any], plan_id: str, step_id: str, names: tuple[str, str]) -> int:
        """What a model was told that nobody here answers for (``messages_api.heard``): untrusted, and remembered once.
        Returns the bytes that are kept.

        It has as much room as results have, of its own. From the first block on that does not fit any more nothing is
        remembered, as after a result that does not.

        Args:
            names: hand and action.
        """
        if self.full:
            return 0
        new: list[bytes] = []
        for block in blocks:
            document = orjson.dumps(block, option=orjson.OPT_SORT_KEYS)
            digest = hashlib.blake2b(document, digest_size=16).digest()
            if digest in self._heard:
                continue
            many = self._count >= ITEMS_MAX or len(self._heard) >= BLOCKS_MAX
            if many or self._heard_bytes + len(document) > self.bytes_max:
                self.full = True
                break
            new.append(document)
            self._heard.add(digest)
            self._heard_bytes += len(document)
        if not new:
            return 0
        content = b'{"content":[' + b",".join(new) + b"]}"
        self._heard_bytes += len(content) - sum(map(len, new))
        return self._take(Item(Origin(Source.RESULT, plan_id, step_id, *names, Trust.UNTRUSTED), content))

    def operator(self, values: Iterable[str]) -> None:
        """What the operator vouches for; to be told first."""
        for value in values:
            self._know(Origin(Source.OPERATOR), value)

    def approve(self, role: ArgumentRole, value: str, origin: Origin) -> None:
        """A person approved a call with this argument. The newest approval counts."""
        for spelling in spellings(value):
            self._approved[role, spelling] = origin

    def _keep(self, item: Item) -> int:
        read_bytes = self.size_bytes - self._requested_bytes - self._heard_bytes
        if self.full or self._count >= ITEMS_MAX or read_bytes + len(item.content) > self.bytes_max:
            # From here on nothing is remembered: a later trusted value must not seem to have come first.
            self.full = True
            return 0
        return self._take(item)

    def _take(self, item: Item) -> int:
        self._count += 1
        self.size_bytes += len(item.content)
        self.new_bytes += len(item.content)
        self._new.append(item)
        return len(item.content)

    # --- finding -----------------------------------------------------------------------------------------------------

    def begin_round(self) -> None:
        """Look for as much as one round may from now on, and call everything beyond it unknown."""
        self._lookups = self._searched = self._grouped = 0

    def find(self, value: str) -> list[Found]:
        """Where a value was seen, in that order: as a whole and inside a text, each kind of source once."""
        if self._new or self._busy:
            self.take_apart(self.take_new())
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            return []
        seen: dict[tuple[Source, Trust | None, bool], tuple[int, Found]] = {}

        def note(order: int, origin: Origin, match: Match) -> None:
            kind = (origin.source, origin.trust, match is Match.CONTAINED)
            if kind not in seen or order < seen[kind][0]:
                seen[kind] = (order, Found(origin, match))

        for spelling in spellings(value):
            for order, origin, known in self._whole.get(spelling, ()):
                note(order, origin, Match.EXACT if known == value else Match.NORMALISED)
            for order, origin in self._links.get(spelling, ()):
                note(order, origin, Match.CONTAINED)
        if not self._find_in_texts(value, note):
            return []  # a mention that came first could have been missed
        for (source, trust, contained), (order, _) in list(seen.items()):
            if contained and seen.get((source, trust, False), (order + 1,))[0] <= order:
                del seen[source, trust, True]  # it is there as a whole, and no later
        return [found for _, found in sorted(seen.values(), key=lambda one: one[0])]

    def _find_in_texts(self, value: str, note: Any) -> bool:
        """Note each text that holds the value; ``False`` where that would take more than the round has left."""
        token = plain(value).lstrip("@#")
        if not 1 < len(token) <= VOUCHED_MAX:
            return True
        number = compact(token)
        is_link = link(value) is not None
        for order, text in self._texts:
            if self._searched + len(text.plain) > SEARCHED_MAX_CHARACTERS:
                return False
            self._searched += len(text.plain)
            if is_link:
                # Who vouches for a link has written it as one, and it was found among the links. A mention need not be:
                # what can be read out of a text that nobody vouches for came from there.
                hit = text.origin.trust is Trust.UNTRUSTED and token in text.plain
            else:
                hit = stands_in(token, text.plain, unsure=text.origin.trust is Trust.UNTRUSTED)
                if not hit and number is not None and number in text.packed:
                    if self._grouped + len(text.plain) > GROUPED_MAX_CHARACTERS:
                        return False
                    self._grouped += len(text.plain)
                    hit = grouped_in(number, text.plain)
            if hit:
                note(order, text.origin, Match.CONTAINED)
        return True

    def approved(self, role: ArgumentRole, value: str) -> Origin | None:
        """The approved call that had this value in this role."""
        return next(
            (self._approved[role, spelling] for spelling in spellings(value) if (role, spelling) in self._approved),
            None,
        )

    # --- taking apart ------------------------------------------------------------------------------------------------

    def take_new(self) -> list[Item]:
        """What came in since; to be given to :meth:`take_apart`, before which nothing can be found."""
        if self._busy:
            # Half of it would be findable: what an untrusted text mentioned first could seem to be a trusted one's.
            raise RuntimeError("a memory that is being taken apart was asked")
        items, self._new, self.new_bytes = self._new, [], 0
        self._busy = bool(items)
        return items

    def take_apart(self, items: Iterable[Item]) -> None:
        """Make findable what :meth:`take_new` gave. May run in a thread; where it fails, nothing is found any more."""
        self._take_items_apart(items)
        self._busy = False

    def _take_items_apart(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.origin.source is Source.REQUEST:
                text = item.content.decode("utf-8", "surrogatepass")
                self._know(item.origin, text)
                self._read(item.origin, [text])
                continue
            values: dict[Trust, list[str]] = {Trust.TRUSTED: [], Trust.UNTRUSTED: []}
            otherwise = item.origin.trust or Trust.UNTRUSTED
            for path, value in scalars(orjson.loads(item.content)):
                values[otherwise if item.action is None else item.action.trust_at(path, otherwise)].append(value)
            # Of one result, what is vouched for comes first: a text that repeats a name beside it takes nothing away.
            for trust in (Trust.TRUSTED, Trust.UNTRUSTED):
                origin = replace(item.origin, trust=trust)
                for value in values[trust]:
                    self._know(origin, value)
                self._read(origin, values[trust])

    def _know(self, origin: Origin, value: str) -> None:
        if len(value) > VOUCHED_MAX or (origin.source is Source.RESULT and self._known >= VALUES_MAX):
            return
        self._known += 1
        order = len(self._texts)
        for spelling in spellings(value):
            known = self._whole.setdefault(spelling, [])
            if all((one.source, one.trust) != (origin.source, origin.trust) for _, one, _ in known):
                known.append((order, origin, value))

    def _read(self, origin: Origin, values: list[str]) -> None:
        if not values:
            return
        order = len(self._texts)
        text = plain("\n".join(values))
        self._texts.append((order, _Text(origin, text, unseparated(text))))
        if origin.source is Source.RESULT:
            values = values[: max(0, VALUES_MAX - len(self._links))]
        for value in values:
            for seen in links(value):
                known = self._links.setdefault(seen.canonical, [])
                if all((one.source, one.trust) != (origin.source, origin.trust) for _, one in known):
                    known.append((order, origin))


def spellings(value: str) -> list[str]:
    """Under what a value is found as a whole: its text, the link that it is, the number that it is."""
    text = plain(value)
    found = [text, text.lstrip("@#")]
    seen = link(value)
    if seen is not None:
        found.append(seen.canonical)
    number = compact(text)
    if number is not None:
        found.append(number)
    return [one for one in dict.fromkeys(found) if one]
