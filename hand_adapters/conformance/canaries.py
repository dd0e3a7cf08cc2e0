"""Made-up secrets in the places of the real ones, and where they turned up."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.calls import HandResult, Injections
from gateway.canonical import canonical
from gateway.manifest import Manifest
from gateway.ports import Target
from gateway.reach import SecretPlace
from gateway.redaction import Redactor

CREDENTIAL: Final = "the step credential"
PROOF: Final = "the proof of the step credential"


class Canaries:
    """One value for each secret that a manifest names, and for the step credential and its proof.

    No store is asked: a check that held production's secrets would be one more place to lose them from.
    """

    def __init__(self, manifest: Manifest, given: Mapping[str, str]) -> None:
        """
        Args:
            given: secret -> the value of a test account, where a made-up one would be let in nowhere.
        """
        self._uses = manifest.secrets
        self.values = {use.name: given.get(use.name) or _made_up(use.place) for use in self._uses}
        self.credential = f"canary.{secrets.token_hex(16)}.{secrets.token_hex(16)}"
        self._proof = f"canary.{secrets.token_hex(16)}.proof"
        named = {**self.values, CREDENTIAL: self.credential, PROOF: self._proof}
        self._redactors = {name: Redactor([value]) for name, value in named.items()}
        self.injected: set[str] = set()
        """Secrets that were asked for."""

    def prove(self, method: str, url: str) -> str:  # noqa: ARG002 - HandCall.prove
        """In the place of a ``DPoP`` header."""
        return self._proof

    async def inject(self, scheme: str, host: str, port: int, method: str = "", path: str = "", /) -> Injections:
        """``HandCall.inject``: what the gateway would add to the request, with these values."""
        target = Target(scheme, host, port, method, path)
        headers: dict[str, str] = {}
        query: dict[str, str] = {}
        unsent: dict[SecretPlace, str] = {}
        for use in self._uses:
            if not use.fits(target.origin, method, path):
                continue
            self.injected.add(use.name)
            if use.place in {SecretPlace.PASSWORD, SecretPlace.SIGNATURE}:
                unsent[use.place] = self.values[use.name]
                continue
            place, content = use.placed(self.values[use.name])
            (query if use.place is SecretPlace.QUERY else headers)[place] = content
        return Injections(headers, query, unsent.get(SecretPlace.PASSWORD), unsent.get(SecretPlace.SIGNATURE))

    def within(self, text: str) -> Iterator[str]:
        """The names of those that ``text`` holds, however it spells them (``gateway.redaction``)."""
        for name, redactor in self._redactors.items():
            if redactor.text(text) != text:
                yield name

    def within_result(self, result: HandResult) -> Iterator[str]:
        """The same of a result."""
        before = _written(result)
        for name, redactor in self._redactors.items():
            if _written(redactor.result(result)) != before:
                yield name


def _made_up(place: SecretPlace) -> str:
    """A value that nobody has; a key for signatures in the form of Standard Webhooks."""
    if place is SecretPlace.SIGNATURE:
        return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode('ascii')}"
    return f"canary-{secrets.token_hex(16)}"


def _written(result: HandResult) -> bytes:
    document: Any = result.document()
    return canonical(document)
