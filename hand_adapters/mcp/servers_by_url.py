"""Servers of a client's file that are reached over HTTP. Their headers and queries hold keys more often than not: what
stands there becomes a secret to keep, and no value is copied.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import ValidationError
from yarl import URL

from gateway.settings import HandSecretSettings
from gateway.settings.mcp_servers import of_the_protocol
from hand_adapters.dialer import permitted

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


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


def address(hand_id: str, entry: Mapping[str, Any], text: str) -> Address:
    """What a server that is reached over HTTP becomes.

    Args:
        text: its URL, with the defaults of its variables.

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
    literal = ":" in host or host.replace(".", "").isdecimal()
    private = host == "localhost" or (literal and not permitted(host, private_network=False))
    if private and literal and not permitted(host, private_network=True):
        raise NoHand("Its url is an address that the gateway does not dial.")
    if url.scheme == "http" and not private:
        raise NoHand("It is spoken to in clear. Give its https:// URL.")
    notes: list[str] = []
    secrets: dict[str, Mapping[str, str]] = {}
    for name, _ in parse_qsl(url.raw_query_string, keep_blank_values=True):
        _take(hand_id, {"place": "query", "parameter": name}, f"{name} in its query", secrets, notes)
    _headers(hand_id, entry.get("headers"), secrets, notes)
    if private:
        notes.append("It is on this machine or in a private network. Take private_network out if it should not be.")
    if "oauth" in entry or "headersHelper" in entry:
        notes.append("Its client logs in there. Declare a connection, and name that in a secret of the hand.")
    return Address(str(url.with_query(None).with_fragment(None)), private, secrets, tuple(notes))


def _headers(hand_id: str, headers: Any, secrets: dict[str, Mapping[str, str]], notes: list[str]) -> None:
    for name, value in (headers if isinstance(headers, dict) else {}).items():
        scheme = value.partition(" ")[0].lower() if isinstance(value, str) else ""
        if name.lower() == "authorization":
            if scheme == "basic":
                notes.append("Authorization is left out: declare a secret with place = 'basic' and its username.")
                continue
            _take(hand_id, {"place": "bearer"}, name, secrets, notes)
        elif of_the_protocol(name):
            notes.append("A header of the protocol is left out: the gateway sends its own.")
        else:
            _take(hand_id, {"place": "header", "parameter": name}, name, secrets, notes)


def _take(
    hand_id: str, declared: Mapping[str, str], what: str, secrets: dict[str, Mapping[str, str]], notes: list[str]
) -> None:
    parameter = declared.get("parameter", "token")
    named = _NAME.fullmatch(parameter) is not None
    try:
        if not named or declared in secrets.values():
            raise ValueError
        HandSecretSettings.model_validate(declared)
    except (ValidationError, ValueError):
        notes.append(
            f"{what if named else 'A header or a parameter of its query'} is left out: no secret can be sent there."
        )
        return
    wanted = f"{hand_id[:40]}-{re.sub(r'[^a-z0-9_-]+', '-', parameter.lower())[:20]}"
    name = next(name for name in chain([wanted], (f"{wanted}-{n}" for n in count(2))) if name not in secrets)
    secrets[name] = declared
    notes.append(
        f"{what} is sent as a secret. Keep its value with 'handrail secrets set {name}', and take it out of that file."
    )
