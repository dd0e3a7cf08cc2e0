"""What is looked for: a pattern that says where to look, and a check that says what is there.

Patterns run on views (``folding``), in RE2: its time is linear in the text, whatever the pattern and whoever wrote the
text. A check looks at a bounded piece around a match. What a kind is called is what policies call it.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import re2

from gateway.personal_data import check_digits

Spans = Iterator[tuple[int, int]]
UNSEARCHED: Final = "unsearched"
"""What is counted instead of a kind where not all of a result was looked through."""
PATTERN_MAX: Final = 512
PROGRAM_MAX: Final = 256
"""Instructions of a declared pattern: RE2's time is linear in the text, times these where its automaton does not fit
into memory. With thousands a megabyte takes a minute."""
_MEMORY_MAX: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


class PatternError(Exception):
    """A declared pattern cannot be used; the text says why, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One form of one kind.

    Attributes:
        kind: what it is evidence of: ``email``, ``card``.
        pattern: of bytes, linear-time; where to look.
        needs: bytes of which a view must hold one to be worth looking through; empty for none.
        check: view and match -> spans in the view that are one.
    """

    id: str
    kind: str
    pattern: Any
    check: Callable[[bytes, Any], Spans]
    needs: tuple[bytes, ...] = ()
    declared: bool = False
    """Whether an operator wrote it."""


def marker(kind: str) -> str:
    """What stands where something was taken out."""
    return f"[redacted:{kind}]"


def declared(name: str, pattern: str) -> Recogniser:
    """An operator's own kind.

    Args:
        pattern: RE2 syntax, over folded text: ASCII, with other letters as one byte each.

    Raises:
        PatternError: it is not of that syntax, too large, matches the empty text or as much as it likes, or takes a
            name that is used.
    """
    if not _NAME.fullmatch(name) or name in {*KINDS, UNSEARCHED}:
        raise PatternError(f"{name} is the name of a kind that there is")
    if not pattern.isascii() or len(pattern) > PATTERN_MAX:
        raise PatternError(f"a pattern is ASCII, and of {PATTERN_MAX} characters at most")
    if re.search(r"(?<!\\)(?:\\\\)*(?:[*+]|\{\d+,\})", re.sub(r"\[(?:\\.|[^\]\\])*\]", "x", pattern)):
        raise PatternError("*, + and {n,} have no end: say how many at most, as in {1,20}")
    compiled = _compile(pattern.encode("ascii"))
    if compiled.programsize > PROGRAM_MAX:
        raise PatternError("it matches too much: repeat less, with a smaller n in {1,n}")
    if compiled.search(b"") is not None:
        raise PatternError("it matches the empty text")
    return Recogniser(name, name, compiled, _short, declared=True)


def _compile(pattern: bytes, memory_bytes: int = _MEMORY_MAX) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = memory_bytes
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as exc:
        said = exc.args[0] if exc.args else ""
        raise PatternError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


# --- checks ----------------------------------------------------------------------------------------------------------


def _short(view: bytes, match: Any) -> Spans:  # noqa: ARG001
    start, end = match.span()
    if start < end:
        yield start, end


def _if(holds: Callable[[bytes], bool]) -> Callable[[bytes, Any], Spans]:
    """Group 1 of the match, where its capitals and digits pass ``holds``."""

    def check(view: bytes, match: Any) -> Spans:  # noqa: ARG001
        if holds(_bare(match[1])):
            yield match.span(1)

    return check


def _bare(text: bytes) -> bytes:
    return text.translate(None, b" \t\r\n-./_()").upper()


_GROUP: Final = re.compile(rb"[0-9]+")
_GROUPS_MAX: Final = 10
_LOCAL_MAX: Final = 64
_NUMBER_USUAL: Final = 12
"""Digits of nearly all telephone numbers, with their country."""
_FIRST_DIGITS: Final = frozenset({b"2", b"3", b"4", b"5", b"6"})


def _cards(view: bytes, match: Any) -> Spans:  # noqa: ARG001
    """Card numbers in a run of digits: one group, or several of two digits and more that stand beside each other."""
    start = match.start()
    groups = [(found.start(), found[0]) for found in _GROUP.finditer(match[0])]
    first = 0
    while first < len(groups):
        best = _card_from(groups, first) if groups[first][1][:1] in _FIRST_DIGITS else 0
        if best:
            place, group = groups[best - 1]
            yield start + groups[first][0], start + place + len(group)
        first = best or first + 1


def _card_from(groups: list[tuple[int, bytes]], first: int) -> int:
    """The group after the longest card number that begins with the group ``first``; 0 where none does."""
    digits, best = b"", 0
    for last in range(first, min(first + _GROUPS_MAX, len(groups))):
        group = groups[last][1]
        digits += group
        if len(group) < 2 or len(digits) > check_digits.CARD_MAX:
            break
        if len(digits) >= check_digits.CARD_MIN and check_digits.card(digits):
            best = last + 1
    return best


_ACCOUNTS: Final = {
    length: re.compile(rb"[A-Za-z]{2}[0-9]{2}(?:[ .-]{0,2}[0-9A-Za-z]){%d}(?![0-9A-Za-z])" % (length - 4))
    for length in sorted(set(check_digits.IBAN_LENGTHS.values()))
}


def _accounts(view: bytes, match: Any) -> Spans:
    length = check_digits.IBAN_LENGTHS.get(match[1][:2].upper())
    found = None if length is None else _ACCOUNTS[length].match(view, match.start(1))
    if found is not None and check_digits.iban(_bare(found[0])):
        yield found.span()


def _phone(view: bytes, match: Any) -> Spans:
    """Seven to fifteen digits (ITU-T E.164). Where more follow, another number stands behind it: then it ends with a
    group of digits, and is no longer than such numbers are."""
    start, end = match.span(1)
    if not view[end : end + 1].isdigit():
        digits = len(_bare(match[1]).lstrip(b"+"))
        if 7 <= digits <= 15:
            yield start, end
        return
    best = digits = 0
    for group in list(_GROUP.finditer(match[1]))[:-1]:
        digits += len(group[0])
        if 7 <= digits <= _NUMBER_USUAL:
            best = group.end()
    if best:
        yield start, start + best


def _email(view: bytes, match: Any) -> Spans:  # noqa: ARG001
    """An address without quotes (RFC 5321, section 4.1.2): 64 before the sign at most, and a name of several labels.

    A name that is too long counts as well: the match is over, and what it reaches may be the beginning of another one.
    """
    start, end = match.span()
    local, _, _ = match[0].rpartition(b"@")
    kept = local[-_LOCAL_MAX:].lstrip(b".'`={}|/*&")
    if kept:
        yield start + len(local) - len(kept), end


def _address(view: bytes, match: Any) -> Spans:
    start, end = match.span(1)
    if view[end : end + 2].lstrip(b".")[:1].isdigit():
        return  # a version with more parts
    try:
        found = ipaddress.ip_address(match[1].decode("ascii"))
    except ValueError:
        return
    if found.version == 6 and sum(char in b"0123456789abcdefABCDEF" for char in match[1]) < 4:
        return
    if not (found.is_loopback or found.is_unspecified or found.is_multicast):
        yield start, end


def _birth(view: bytes, match: Any) -> Spans:  # noqa: ARG001
    parts = [int(part) for part in _GROUP.findall(match[1])]
    year = max(parts)
    if year < 100:
        year += 1900
    others = [part for part in parts if part != max(parts)] if len(set(parts)) == 3 else sorted(parts)[:2]
    one, two = others
    if 1880 <= year <= 2100 and (check_digits.is_date(year, one, two) or check_digits.is_date(year, two, one)):
        yield match.span(1)


# --- the table -------------------------------------------------------------------------------------------------------

_WORD: Final = rb"(?:\b|_)"
"""Where a word begins or ends. Markdown's ``_`` is read as an emphasis, and ``scan_123-45-6789.pdf`` as three words."""
_EDGE: Final = rb"(?:^|[^0-9A-Za-z])"
_LABEL: Final = rb"[0-9A-Za-z\xff](?:[0-9A-Za-z\xff-]{0,61}[0-9A-Za-z\xff])?"
"""Of a domain: here and not in a check, so that a name which is none uses up nothing of a good one beside it."""
_SAID: Final = rb"[a-z_ -]{0,16}[^0-9a-z\n+(]{0,8}"
"""What may stand between the word that says what a number is, and the number."""
_TELEPHONE: Final = (
    rb"(?:telefon|telephone|phone|mobil|handy|whatsapp|rufnummer|(?:^|[^a-z])(?:tel|fax|cell|sms|call|gsm))"
)
_BORN: Final = (
    rb"(?:birth|born|geboren|geburt|naissance|nacimiento|nascita|urodzen|(?:^|[^a-z])(?:dob|geb|nee|ne le|nato|nata))"
)


def _made(identity: str, kind: str, pattern: bytes, check: Callable[[bytes, Any], Spans], *needs: bytes) -> Recogniser:
    return Recogniser(identity, kind, _compile(pattern), check, needs)


def _alone(number: bytes) -> bytes:
    """The pattern of a number that is a word of its own: group 1."""
    return _WORD + b"(" + number + b")" + _WORD


BUILT_IN: Final[tuple[Recogniser, ...]] = (
    _made(
        "email", "email",
        rb"[0-9A-Za-z!#$%&'*+/=?^_`{|}~.\xff-]+@(?:" + _LABEL + rb"\.)+[A-Za-z\xff]{2,24}",
        _email, b"@",
    ),
    _made("iban", "iban", _WORD + rb"([A-Za-z]{2}[0-9]{2})", _accounts),
    _made("card", "card", rb"[0-9](?:[ \r\n._/-]{0,3}[0-9]){13,}", _cards),
    _made("us_ssn", "national_id", _alone(rb"[0-9]{3}[ -][0-9]{2}[ -][0-9]{4}"), _if(check_digits.us_ssn)),
    _made(
        "us_ssn_said", "national_id",
        rb"(?i)(?:(?:^|[^a-z])ssn|social.?security)" + _SAID + rb"([0-9]{9})" + _WORD, _if(check_digits.us_ssn),
    ),
    _made("de_tax_id", "national_id", _alone(rb"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}"), _if(check_digits.de_tax_id)),
    _made("gb_nhs", "national_id", _alone(rb"[0-9]{3}[ -][0-9]{3}[ -][0-9]{4}"), _if(check_digits.gb_nhs)),
    _made(
        "gb_nhs_said", "national_id",
        rb"(?i)(?:^|[^a-z])nhs" + _SAID + rb"([0-9]{10})" + _WORD, _if(check_digits.gb_nhs),
    ),
    _made("es_dni", "national_id", _alone(rb"[0-9XYZ][0-9]{7}[ -]?[A-Z]"), _if(check_digits.es_dni)),
    _made(
        "fr_nir", "national_id",
        _alone(rb"[12] ?[0-9]{2} ?[0-9]{2} ?[0-9][0-9AB] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"),
        _if(check_digits.fr_nir),
    ),
    _made(
        "it_fiscal_code", "national_id",
        _alone(rb"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]"),
        _if(check_digits.it_fiscal_code),
    ),
    _made("pl_pesel", "national_id", _alone(rb"[0-9]{11}"), _if(check_digits.pl_pesel)),
    _made("ipv4", "ip_address", _alone(rb"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"), _address, b"."),
    _made("ipv6", "ip_address", rb"(?:^|[^0-9A-Za-z:])([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})\b", _address, b":"),
    _made(
        "birth_date", "birth_date",
        rb"(?i)" + _BORN + rb"[a-z_ -]{0,16}[^0-9a-z\n]{0,8}"
        + rb"([0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}|[0-9]{1,2}[-./][0-9]{1,2}[-./](?:[0-9]{4}|[0-9]{2}))\b",
        _birth,
    ),
    _made("phone", "phone", _EDGE + rb"(\+[1-9](?:[ ()./-]{0,3}[0-9]){6,14})", _phone),
    _made("phone_us", "phone", rb"(?:^|[^0-9])(\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4})\b", _phone, b"("),
    _made("phone_said", "phone", rb"(?i)" + _TELEPHONE + _SAID + rb"(\(?[0-9](?:[ ()./-]{0,3}[0-9]){5,14})", _phone),
)  # fmt: skip
"""In the order in which they are believed where one stands in another: a card number holds many a phone number."""

ANY_BUILT_IN: Final = _compile(
    b"|".join(b"(?:" + one.pattern.pattern + b")" for one in BUILT_IN), len(BUILT_IN) * _MEMORY_MAX
)
"""Matches somewhere in a view where one of them does. Most views hold nothing, and one look says so."""

KINDS: Final[tuple[str, ...]] = tuple(dict.fromkeys(one.kind for one in BUILT_IN))
"""Of the built-in recognisers."""
_CONTEXT: Final = _compile(rb"(?i)" + _TELEPHONE + rb"|" + _BORN + rb"|ssn|social.?security|(?:^|[^a-z])nhs")


def says_what_it_is(name: bytes) -> bool:
    """Whether the name of a member tells what a number in it is."""
    return _CONTEXT.search(name) is not None
