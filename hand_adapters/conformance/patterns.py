"""Texts that match a regular expression: the part of the syntax that schemas use, read by ourselves.

What is not understood (look-around, back-references, classes of Unicode) gives no text; the caller then has none of
that pattern to try. Whether a text really matches, the schema's own checker says.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

_MORE: Final = 3
"""Repetitions beyond the least, where a pattern bounds them higher or not at all."""
_REPEATED_MAX: Final = 1024
_CLASSES: Final = {
    "d": "0123456789",
    "w": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
    "s": " \t",
}
_SIGNS: Final = "-_.,:;!?+*#@/() äß€"
_ANY: Final = _CLASSES["w"] + _SIGNS
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}

_STEPS_MAX: Final = 50_000
"""Repetitions of one text, those within each other counted: a pattern comes from a tool."""


class NotUnderstood(ValueError):
    """A pattern beyond the part that is read here, or one whose texts are too long."""


class _Draw:
    """The chance of one text, and how much of it may still be made."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.left = _STEPS_MAX

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise NotUnderstood("too long")


_Piece = Callable[[_Draw], str]


def text(pattern: str, rng: random.Random) -> str:
    """A text that ``pattern`` finds a match in.

    Raises:
        NotUnderstood: it uses what is not read here.
    """
    reader = _Reader(pattern)
    try:
        made = reader.alternatives()
        if reader.at < len(pattern):
            raise NotUnderstood(f"at {reader.at}")
        return made(_Draw(rng))
    except RecursionError:
        raise NotUnderstood("too deep") from None


class _Reader:
    """Recursive descent over a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def alternatives(self) -> _Piece:
        branches = [self._sequence()]
        while self._next("|"):
            branches.append(self._sequence())
        return lambda draw: draw.rng.choice(branches)(draw)

    def _sequence(self) -> _Piece:
        pieces: list[_Piece] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            piece = self._piece()
            if piece is not None:
                pieces.append(self._repeated(piece))
        return lambda draw: "".join(piece(draw) for piece in pieces)

    def _piece(self) -> _Piece | None:
        sign = self._take()
        if sign in "^$":
            return None
        if sign == "(":
            if self._next("?"):
                self._group()
            inner = self.alternatives()
            self._need(")")
            return inner
        if sign == "[":
            return _one_of(self._class())
        if sign == ".":
            return _one_of(_ANY)
        if sign == "\\":
            return self._escape()
        if sign in "*+?{":
            raise NotUnderstood(sign)
        return lambda _: sign

    def _group(self) -> None:
        """What follows ``(?``: only groups that do not capture, or that have a name."""
        if self._next(":"):
            return
        if self._next("P<") or (self.pattern[self.at : self.at + 2] not in {"<=", "<!"} and self._next("<")):
            while self._take() != ">":
                pass
            return
        raise NotUnderstood("a group")

    def _escape(self) -> _Piece | None:
        sign = self._take()
        if sign in "AzZb":
            return None
        if sign.lower() in _CLASSES:
            return _one_of(_members(sign))
        if sign in _ESCAPES:
            return _one_of(_ESCAPES[sign])
        if sign.isalnum():
            raise NotUnderstood(f"\\{sign}")
        return lambda _: sign

    def _class(self) -> str:
        """The members of a class, of those that are tried."""
        negated = self._next("^")
        found = ""
        first = True
        while first or not self._next("]"):
            first = False
            member = self._member()
            if len(member) == 1 and self.pattern[self.at : self.at + 1] == "-" and self._after_dash() != "]":
                self.at += 1
                last = self._member()
                if len(last) != 1 or ord(last) < ord(member):
                    raise NotUnderstood("a range")
                found += "".join(map(chr, range(ord(member), min(ord(last), ord(member) + 127) + 1)))
            else:
                found += member
        chosen = "".join(sorted(set(_ANY) - set(found))) if negated else found
        if not chosen:
            raise NotUnderstood("an empty class")
        return chosen

    def _after_dash(self) -> str:
        return self.pattern[self.at + 1 : self.at + 2]

    def _member(self) -> str:
        sign = self._take()
        if sign == "[":
            raise NotUnderstood("a class within a class")
        if sign != "\\":
            return sign
        escaped = self._take()
        if escaped.lower() in _CLASSES:
            return _members(escaped)
        if escaped in _ESCAPES:
            return _ESCAPES[escaped]
        if escaped.isalnum():
            raise NotUnderstood(f"\\{escaped}")
        return escaped

    def _repeated(self, piece: _Piece) -> _Piece:
        bounds = self._bounds()
        if bounds is None:
            return piece
        self._next("?")  # as few as possible: the same texts
        least, most = bounds
        most = least + _MORE if most is None else most
        if most < least or least > _REPEATED_MAX:
            raise NotUnderstood("bounds")
        most = min(most, least + 64)

        def several(draw: _Draw) -> str:
            made = ""
            for _ in range(draw.rng.randint(least, most)):
                draw.step()
                made += piece(draw)
            return made

        return several

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._next(sign):
                return bounds
        if not self._next("{"):
            return None
        inside = ""
        while (sign := self._take()) != "}":
            inside += sign
        least, comma, most = inside.partition(",")
        if not least.isdecimal() or (most and not most.isdecimal()):
            raise NotUnderstood("bounds")
        return int(least), (int(most) if most else None) if comma else int(least)

    def _take(self) -> str:
        if self.at >= len(self.pattern):
            raise NotUnderstood("its end")
        self.at += 1
        return self.pattern[self.at - 1]

    def _next(self, text: str) -> bool:
        if not self.pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def _need(self, text: str) -> None:
        if not self._next(text):
            raise NotUnderstood(text)


def _members(sign: str) -> str:
    """Of a class by its letter, or of its opposite by the capital."""
    inside = _CLASSES[sign.lower()]
    return inside if sign.islower() else "".join(sorted(set(_ANY) - set(inside)))


def _one_of(members: Sequence[str]) -> _Piece:
    return lambda draw: draw.rng.choice(members)
