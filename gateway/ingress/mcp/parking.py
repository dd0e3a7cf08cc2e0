"""Calls of stateless clients that wait for an answer, and the ``requestState`` by which a client finds its own again.

A state is sealed (AES-256-GCM) to the principal, the hand, the action and the arguments; it can be used once, and not
for long. The key is this process's own and dies with it, as do the calls that its states name.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mcp import MCPError, types

from gateway.canonical import b64url_decode, b64url_encode
from gateway.errors import Refused
from gateway.ingress.mcp.calls import Call, call_bytes
from gateway.ingress.mcp.client_talk import ClientTalk
from gateway.model import Principal

PARKED_PER_PRINCIPAL_MAX: Final = 16
PARKED_MAX: Final = 1024
STATE_SECONDS: Final = 900.0
"""How long a state can be used; the call may end before."""
STATE_MAX_CHARACTERS: Final = 256
_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Target:
    """What a client calls.

    Attributes:
        arguments: of the action.
    """

    caller: Principal
    hand: str
    action: str
    arguments: Mapping[str, Any]

    def bound(self) -> bytes:
        """What a state of such a call is sealed to."""
        return call_bytes(self.caller, self.hand, self.action, self.arguments)


@dataclass(frozen=True, slots=True)
class Parked:
    """A call that waits for its client."""

    call: Call
    talk: ClientTalk
    until: float


class Parking:
    """The calls that wait. Belongs to one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: steady, in seconds.
        """
        self._clock = clock
        self._aead = AESGCM(AESGCM.generate_key(256))
        self._parked: dict[bytes, tuple[tuple[str, str], Parked]] = {}

    def park(self, target: Target, call: Call, talk: ClientTalk) -> str | None:
        """Keep a call until its client comes back; the state to give it. ``None`` where too many wait already."""
        owner = (target.caller.tenant, target.caller.id)
        held = Counter(whose for whose, _ in self._parked.values())
        if len(self._parked) >= PARKED_MAX or held[owner] >= PARKED_PER_PRINCIPAL_MAX:
            return None
        place = secrets.token_bytes(_ID_BYTES)
        self._parked[place] = (owner, Parked(call, talk, self._clock() + STATE_SECONDS))
        call.view.add_done_callback(lambda _: self._parked.pop(place, None))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return b64url_encode(nonce + self._aead.encrypt(nonce, place, target.bound()))

    def take(self, target: Target, state: str) -> Parked:
        """The call that a state names; the state is used up.

        Raises:
            MCPError: it is no state of ours, of another principal or call, used, too old, or its call has ended: which
                of these is not said.
        """
        try:
            if len(state) > STATE_MAX_CHARACTERS:
                raise _unknown()
            sealed = b64url_decode(state)
            place = self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], target.bound())
        except (Refused, InvalidTag, ValueError):
            raise _unknown() from None
        _, parked = self._parked.pop(place, (None, None))
        if parked is None or parked.until < self._clock():
            raise _unknown()
        return parked


def _unknown() -> MCPError:
    return MCPError(types.INVALID_PARAMS, "Invalid or expired requestState", {"reason": "invalid_request_state"})
