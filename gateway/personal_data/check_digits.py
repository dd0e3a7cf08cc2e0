"""The arithmetic by which a number of a register is told from any other number. ASCII bytes in, no spaces."""

from datetime import date
from typing import Final

IBAN_LENGTHS: Final[dict[bytes, int]] = {
    country.encode(): length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH CR HR LI LV", 22: "BG BH DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an account number by country (ISO 13616, SWIFT's register)."""
CARD_MIN: Final = 14
CARD_MAX: Final = 19
"""Digits of a payment card (ISO/IEC 7812-1); shorter ones are no longer given out."""


def luhn(digits: bytes) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = (digit - 48) << (place & 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card(digits: bytes) -> bool:
    """Whether these are the digits of a payment card: an issuer's range, its length, and the check digit."""
    size = len(digits)
    if not CARD_MIN <= size <= CARD_MAX or len(set(digits)) == 1:
        return False
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    known = (
        (size in {16, 19} and digits[:1] == b"4")
        or (size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720))
        or (size == 15 and two in {34, 37})
        or (size == 14 and (300 <= three <= 305 or three == 309 or two in {36, 38, 39}))
        or (size >= 16 and (four == 6011 or 644 <= three <= 649 or two in {62, 65} or 3528 <= four <= 3589))
        or (size >= 16 and four in {5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763})
    )
    return known and luhn(digits)


def iban(account: bytes) -> bool:
    """ISO 13616-1: the country's length, and the remainder by 97 (ISO/IEC 7064). Capitals and digits."""
    if IBAN_LENGTHS.get(account[:2]) != len(account):
        return False
    turned = account[4:] + account[:4]
    return int("".join(str(int(chr(char), 36)) for char in turned)) % 97 == 1


def us_ssn(digits: bytes) -> bool:
    """Social Security number: no area 000, 666 or 9xx, no group 00 and no serial 0000 is given out."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in {b"000", b"666"} and area < b"900" and group != b"00" and serial != b"0000"


def de_tax_id(digits: bytes) -> bool:
    """Steuer-Identifikationsnummer: of the first ten digits one stands there two or three times, never three
    in a row; ISO/IEC 7064, mod 11,10."""
    first = digits[:10]
    repeated = sorted(count for digit in set(first) if (count := first.count(digit)) > 1)
    if digits[:1] == b"0" or repeated not in ([2], [3]):
        return False
    if any(bytes([digit] * 3) in first for digit in set(first)):
        return False
    product = 10
    for digit in first:
        total = (digit - 48 + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[10] - 48


def gb_nhs(digits: bytes) -> bool:
    """NHS number: the remainder by 11."""
    check = 11 - sum((digit - 48) * (10 - place) for place, digit in enumerate(digits[:9])) % 11
    return len(set(digits)) > 1 and check != 10 and check % 11 == digits[9] - 48


def es_dni(text: bytes) -> bool:
    """DNI and NIE: the letter is the remainder by 23."""
    number = int(text[:-1].translate(bytes.maketrans(b"XYZ", b"012")))
    return b"TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1]


def fr_nir(text: bytes) -> bool:
    """Numéro de sécurité sociale: 97 less the remainder; 2A and 2B are Corsica's."""
    body = text[:13]
    number = int(body.replace(b"2A", b"19").replace(b"2B", b"18"))
    return 97 - number % 97 == int(text[13:])


def it_fiscal_code(text: bytes) -> bool:
    """Codice fiscale: the sixteenth letter is the sum of the others by place, modulo 26."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [char - 48 if char < 65 else char - 65 for char in text[:15]]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values))
    return total % 26 == text[15] - 65


def pl_pesel(digits: bytes) -> bool:
    """PESEL: weights 1, 3, 7, 9, and a date of birth whose month says the century."""
    weights = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)
    total = sum((digit - 48) * weight for digit, weight in zip(digits[:10], weights, strict=True))
    month = int(digits[2:4])
    century = {0: 1900, 1: 2000, 2: 2100, 3: 2200, 4: 1800}.get(month // 20)
    if century is None or (10 - total % 10) % 10 != digits[10] - 48:
        return False
    return is_date(century + int(digits[:2]), month % 20, int(digits[4:6]))


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the calendar has it."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
