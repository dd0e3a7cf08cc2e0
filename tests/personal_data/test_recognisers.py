"""Each form of each kind, and what looks like it and is none."""

import pytest

from gateway.calls import HandResult
from gateway.personal_data import BUILT_IN, KINDS, PatternError, Scanner, declared
from gateway.personal_data.folding import fold
from gateway.settings import Settings

SCANNER = Scanner()

FOUND = {
    "an address": ("email", "write to jo.doe+x@mail.example.org.", "write to [redacted:email]."),
    "an address in quotes": ("email", "<'jo@example.org'>", "<'[redacted:email]'>"),
    "a card in groups": ("card", "4111 1111 1111 1111", "[redacted:card]"),
    "a card with dashes": ("card", "no 5500-0000-0000-0004!", "no [redacted:card]!"),
    "a card of fifteen digits": ("card", "3782 822463 10005", "[redacted:card]"),
    "a card of fourteen digits": ("card", "30569309025904", "[redacted:card]"),
    "a card after another number": ("card", "12 4111 1111 1111 1111 99", "12 [redacted:card] 99"),
    "a card over two lines": ("card", "4111 1111\n1111 1111", "[redacted:card]"),
    "an account": ("iban", "DE89 3704 0044 0532 0130 00 now", "[redacted:iban] now"),
    "an account in small letters": ("iban", "gb82west12345698765432", "[redacted:iban]"),
    "an account behind half of one": ("iban", "XX00 GB82 WEST 1234 5698 7654 32", "XX00 [redacted:iban]"),
    "a number with its country": ("phone", "ring +44 20 7946 0958", "ring [redacted:phone]"),
    "a number that is said to be one": ("phone", "Tel.: 030 / 1234 567", "Tel.: [redacted:phone]"),
    "a number as Americans write it": ("phone", "(415) 555-2671", "[redacted:phone]"),
    "one with dashes after a word": ("phone", "call 212-555-0187", "call [redacted:phone]"),
    "SSN": ("national_id", "123-45-6789", "[redacted:national_id]"),
    "SSN without dashes": ("national_id", "SSN: 123456789", "SSN: [redacted:national_id]"),
    "Steuer-ID": ("national_id", "86 095 742 719", "[redacted:national_id]"),
    "NHS": ("national_id", "943 476 5919", "[redacted:national_id]"),
    "NHS without groups": ("national_id", "NHS no. 9434765919", "NHS no. [redacted:national_id]"),
    "DNI": ("national_id", "12345678Z", "[redacted:national_id]"),
    "NIE": ("national_id", "X1234567L", "[redacted:national_id]"),
    "NIR": ("national_id", "2 55 08 14 168 025 38", "[redacted:national_id]"),
    "codice fiscale": ("national_id", "RSSMRA85T10A562S", "[redacted:national_id]"),
    "PESEL": ("national_id", "44051401359", "[redacted:national_id]"),
    "IPv4": ("ip_address", "from 192.0.2.7,", "from [redacted:ip_address],"),
    "IPv6": ("ip_address", "from 2001:db8::1", "from [redacted:ip_address]"),
    "a birth date": ("birth_date", "born on 12 March", None),
    "a birth date in figures": ("birth_date", "born on 12.03.1980", "born on [redacted:birth_date]"),
    "a birth date, ISO": ("birth_date", "Geburtsdatum: 1980-03-12", "Geburtsdatum: [redacted:birth_date]"),
}
NOT = {
    "a card with a wrong check digit": "4111 1111 1111 1112",
    "a card of nobody": "1234 5678 1234 5670",
    "one digit again and again": "4444444444444444",
    "an account with a wrong check digit": "DE88 3704 0044 0532 0130 00",
    "an account of no country": "XX89 3704 0044 0532 0130 00",
    "an account that goes on": "DE893704004405320130001234",
    "a time": "2026-11-26T12:30:45Z",
    "an order number": "order 1234567890",
    "a date of nothing": "1980-03-12",
    "an SSN of no area": "000-12-3456 666-12-3456 912-34-5678",
    "a version": "1.2.3.4.5",
    "loopback": "127.0.0.1 ::1",
    "a MAC address": "aa:bb:cc:dd:ee:ff",
    "a name in C++": "std::dec",
    "a hotel": "hotel 1234567",
    "an at sign": "@everyone, meet @ 8",
    "a decorator": "@app.route",
    "a hash": "d41d8cd98f00b204e9800998ecf8427e",
    "a PESEL of no month": "44991401359",
    "three groups of digits alone": "212-555-0187",
}


def scanned(text: str, *take: str, scanner: Scanner = SCANNER) -> tuple[dict[str, int], str]:
    scan = scanner.scan(HandResult(({"type": "text", "text": text},)), look=("*",), take=take)
    return {**scan.found, **scan.taken}, scan.result.content[0]["text"]


@pytest.mark.parametrize(("kind", "text", "without"), FOUND.values(), ids=FOUND)
def test_a_form_is_found_and_can_be_taken_out(kind: str, text: str, without: str | None) -> None:
    expected = {} if without is None else {kind: 1}
    assert scanned(text) == (expected, text)
    assert scanned(text, "*") == (expected, without or text)
    assert scanned(text, *(other for other in KINDS if other != kind)) == (expected, text), "only what is asked for"


@pytest.mark.parametrize("text", NOT.values(), ids=NOT)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert scanned(text, "*") == ({}, text)


def test_every_recogniser_finds_something_here() -> None:
    """Each on its own: without the others it finds what the table says of its kind."""
    for recogniser in BUILT_IN:
        views = [fold(text).folded for kind, text, without in FOUND.values() if kind == recogniser.kind and without]
        assert any(
            list(recogniser.check(view, match)) for view in views for match in recogniser.pattern.finditer(view)
        ), recogniser.id


def test_what_stands_in_another_is_one() -> None:
    text = "Phone: +4111 1111 1111 1111"
    assert scanned(text) == ({"card": 1}, text)
    assert scanned("Phone: 4111 1111 1111 111", "phone")[1] == "Phone: [redacted:phone]"
    assert scanned("jo@192.0.2.7.example.org", "ip_address")[0] == {"email": 1}


def test_an_operators_own_kind() -> None:
    own = Scanner([declared("staff", "EMP-[0-9]{4,8}")])
    assert scanned("it was EMP-12345", "staff", scanner=own) == ({"staff": 1}, "it was [redacted:staff]")
    assert scanned("it was EMP-12345") == ({}, "it was EMP-12345")


@pytest.mark.parametrize(
    ("name", "pattern", "why"),
    [
        ("staff", "[a-z]+", "no end"),
        ("staff", "a*", "no end"),
        ("staff", "x{2,}", "no end"),
        ("staff", r"\\*", "no end"),
        ("staff", "(", "missing"),
        ("staff", r"(a)\1", "invalid escape"),
        ("staff", "(?=a)b", "invalid perl operator"),
        ("staff", "a{1000}{1000}", "repetition"),
        ("staff", "a{1,999}", "too much"),
        ("staff", "", "empty text"),
        ("staff", "x{0,3}", "empty text"),
        ("staff", "é", "ASCII"),
        ("staff", "x" * 513, "512"),
        ("email", "x", "name"),
        ("unsearched", "x", "name"),
    ],
)
def test_a_pattern_that_is_unsafe_is_refused_when_it_is_read(name: str, pattern: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        declared(name, pattern)
    with pytest.raises(ValueError, match=f"recognisers.{name}"):
        Settings(results={"recognisers": {name: {"pattern": pattern}}})


def test_a_kind_that_nobody_knows_is_refused() -> None:
    hand = {"adapter": "remote", "actions": {"read": {"args_schema": {}, "results": {"personal_kinds": ["shoe_size"]}}}}
    with pytest.raises(ValueError, match="no kind shoe_size"):
        Settings(hands={"shop": hand})
    Settings(hands={"shop": hand}, results={"recognisers": {"shoe_size": {"pattern": "size [0-9]{2}"}}})
