"""Servers of a client's file that are reached over HTTP. Their headers and queries hold keys more often than not: what
stands there becomes a secret to keep, and no value is copied.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import ValidationError
from yarl import URL

from gateway.settings import HandSecretSettings
from gateway.settings.mcp_servers import of_the_protocol
from hand_adapters.dialer import is_literal, permitted

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HAND_MAX: Final = 42
_SAID_MAX: Final = 20
"""Characters of a hand's id and of a parameter in the name of a secret, which has 63."""


class NoHand(Exception):
    """A server that cannot be a hand; the text says why and what to do instead."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and what it is sent.

    Attributes:
        secrets: name -> ``place`` and, of a header or a parameter, ``parameter``.
        notes: each a sentence.
    """

    url: str
    private_network: bool
    secrets: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def address(hand_id: str, entry: Mapping[str, Any], text: str, taken: Collection[str] = ()) -> Address:
    """What a server that is reached over HTTP becomes.

    Args:
        text: its URL, with the defaults of its variables.
        taken: names of secrets that other servers are sent.

    Raises:
        NoHand: it cannot be one.
    """
    if entry.get("type") in {"sse", "ws", "websocket"}:
        raise NoHand(f"It speaks {entry['type']}, and a hand speaks streamable HTTP. Give the URL for that.")
    try:
        url = URL(text)
        host = url.host or ""
    except ValueError:
        raise NoHand("Its url is none.") from None
    if url.scheme not in {"https", "http"} or not host:
        raise NoHand("Its url is none that begins with https:// or http://.")
    if url.user is not None or url.password is not None:
        raise NoHand("Its url has credentials in it. Take them out, and declare a secret with place = 'basic'.")
    literal = is_literal(host)
    private = host == "localhost" or (literal and not permitted(host, private_network=False))
    if private and literal and not permitted(host, private_network=True):
        raise NoHand("Its url is an address that the gateway does not dial.")
    if url.scheme == "http" and not private:
        raise NoHand("It is spoken to in clear. Give its https:// URL.")
    notes: list[str] = []
    secrets = _Secrets(hand_id, taken)
    for name, _ in parse_qsl(url.raw_query_string, keep_blank_values=True):
        secrets.take({"place": "query", "parameter": name}, f"{name} in its query", notes)
    _headers(entry.get("headers"), secrets, notes)
    if private:
        notes.append("It is on this machine or in a private network. Take private_network out if it should not be.")
    if "oauth" in entry or "headersHelper" in entry:
        notes.append("Its client logs in there. Declare a connection, and name that in a secret of the hand.")
    return Address(str(url.with_query(None).with_fragment(None)), private, secrets.found, tuple(notes))


def _headers(headers: Any, secrets: "_Secrets", notes: list[str]) -> None:
    for name, value in (headers if isinstance(headers, dict) else {}).items():
        scheme = value.partition(" ")[0].lower() if isinstance(value, str) else ""
        if name.lower() == "authorization":
            if scheme == "basic":
                notes.append("Authorization is left out: declare a secret with place = 'basic' and its username.")
                continue
            secrets.take({"place": "bearer"}, name, notes)
        elif of_the_protocol(name):
            notes.append("A header of the protocol is left out: the gateway sends its own.")
        else:
            secrets.take({"place": "header", "parameter": name}, name, notes)


class _Secrets:
    """What one server is sent, by names that are no other server's: who keeps a value for one keeps it for that one."""

    def __init__(self, hand_id: str, taken: Collection[str]) -> None:
        self._hand_id = hand_id
        self._taken = taken
        self.found: dict[str, Mapping[str, str]] = {}

    def take(self, declared: Mapping[str, str], what: str, notes: list[str]) -> None:
        """Declare one, and say so."""
        parameter = declared.get("parameter", "token")
        name = self._name(declared["place"], parameter)
        named = _NAME.fullmatch(parameter) is not None
        try:
            if not named or name in self.found or declared in self.found.values():
                raise ValueError
            HandSecretSettings.model_validate(declared)
        except (ValidationError, ValueError):
            shown = what if named else "A header or a parameter of its query"
            notes.append(f"{shown} is left out: no secret can be sent there.")
            return
        self.found[name] = declared
        notes.append(
            f"{what} is sent as a secret. Keep its value with 'handrail secrets set {name}', and take it out of that "
            "file."
        )

    def _name(self, place: str, parameter: str) -> str:
        said = re.sub(r"[^a-z0-9_-]+", "-", parameter.lower())
        name = f"{self._hand_id}-{said}"
        free = name not in self._taken and name not in self.found
        if len(self._hand_id) <= _HAND_MAX and len(said) <= _SAID_MAX and free:
            return name
        hashed = (self._hand_id, said, place, parameter) if name in self.found else (self._hand_id, said)
        tail = hashlib.sha256("\x00".join(hashed).encode()).hexdigest()[:8]
        return f"{self._hand_id[: _HAND_MAX - 9]}-{said[:_SAID_MAX]}-{tail}"
