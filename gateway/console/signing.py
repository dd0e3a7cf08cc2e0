"""What pages and their script share, where a security key signs: the form, the challenge, and what comes back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from gateway.canonical import b64url_encode
from gateway.console.html import Attribute, Markup, element
from gateway.web.routing import JsonResponse
from gateway.webauthn import Assertion, RelyingParty

ASSERTED: Final = ("payload", "credential_id", "authenticator_data", "client_data_json", "signature")
"""Fields that the page's script fills with what a security key signed."""
NO_SCRIPT: Final = element("noscript", element("p", "Security keys need a script, and scripts are off."))


def inputs() -> list[Markup]:
    """The empty fields of :data:`ASSERTED`."""
    return [element("input", type="hidden", name=name, value="") for name in ASSERTED]


def data(path: str, word: str, about: Mapping[str, Any]) -> dict[str, Attribute]:
    """The dataset of a form: the script signs for nothing else.

    Args:
        path: where the challenge is.
        word: of the button that asks for the key, and of what is signed.
        about: the binding of what the page shows.
    """
    return {"challenge": path, "word": word, "about": json.dumps(about)}


def challenge(payload: bytes, credential_ids: Sequence[str], party: RelyingParty | None) -> Response:
    """What a key is to sign, for the script."""
    return JsonResponse(
        {
            "payload": b64url_encode(payload),
            "challenge": b64url_encode(hashlib.sha256(payload).digest()),
            "rp_id": None if party is None else party.id,
            "credential_ids": list(credential_ids),
        }
    )


def asserted(form: Mapping[str, str]) -> Assertion | None:
    """What a key signed; ``None`` where none did. Raises ``verify.malformed``."""
    return Assertion.from_parts(dict(form)) if form.get("signature") else None
