"""The page of a person's security keys: which they have, and how to enrol one."""

import hashlib
import json
from typing import Final

from starlette.responses import Response

from gateway.canonical import b64url_decode, b64url_encode
from gateway.console.html import Content, element
from gateway.console.layout import alert, form, isolated, page, redirect
from gateway.console.visits import Visit, own_keys, sees_keys
from gateway.errors import HandrailError, Refused
from gateway.permissions import signs
from gateway.reasons import Reason
from gateway.web.bodies import query
from gateway.web.errors import ERRORS, report
from gateway.webauthn import EDDSA, ES256, RelyingParty, verify_registration

REGISTERED: Final = ("authenticator_data", "client_data_json")
"""Fields that the page's script fills with what the browser answered."""
_USER_NAME_MAX: Final = 64
_KINDS: Final = {"EC": "ES256", "OKP": "EdDSA"}


async def show(visit: Visit) -> Response:
    """The visitor's keys, and the form to enrol one."""
    query(visit.request)
    if not sees_keys(visit.principal):
        raise Refused(Reason.AUTH_FORBIDDEN, "an agent's key opens no page of security keys")
    return await _page(visit)


async def enrol(visit: Visit) -> Response:
    """Take in a new key: the person is logged in, and holds a ticket that a security admin gave them."""
    party = visit.gateway.approvals.party
    try:
        if not signs(visit.principal):
            raise Refused(Reason.AUTH_FORBIDDEN, "nothing to sign")
        if party is None:
            raise Refused(Reason.APPROVAL_KEY, "the gateway has no name for security keys")
        client_data, authenticator_data = (b64url_decode(visit.form.get(name, "")) for name in reversed(REGISTERED))
        registered = verify_registration(client_data, authenticator_data, challenge=_challenge(visit), party=party)
        ticket = visit.form.get("ticket", "").strip()
        await visit.gateway.directory.enrol(visit.principal, ticket, registered, party)
    except HandrailError as refusal:
        report(visit.request.scope, refusal)
        return await _page(visit, refusal)
    return redirect("/security-keys")


def _challenge(visit: Visit) -> bytes:
    """Of this session alone. Nothing of a registration is signed, so this only keeps answers of others out."""
    return hashlib.sha256(f"enrol a security key\n{visit.session.csrf_token}".encode()).digest()


async def _page(visit: Visit, refusal: HandrailError | None = None) -> Response:
    keys = await own_keys(visit)
    listed: Content = element("p", "You have none at this address.")
    if keys:
        listed = element(
            "ul", *(element("li", _KINDS[key.jwk["kty"]], " ", element("code", isolated(key.kid))) for key in keys)
        )
    content = (
        element("h1", "Your security keys"),
        None if refusal is None else alert(f"The key was not enrolled. {_said(refusal)}"),
        element(
            "section",
            element("h2", "Enrolled", id="enrolled-title"),
            listed,
            element("p", "A security admin can revoke a key that is lost.", class_="quiet"),
            class_="card",
            aria_labelledby="enrolled-title",
        ),
        _enrolment(visit, visit.gateway.approvals.party, [key.credential_id for key in keys]),
    )
    status = 200 if refusal is None else ERRORS[refusal.reason][0]
    return page("Your security keys", *content, visit=visit, status=status)


def _said(refusal: HandrailError) -> str:
    if refusal.reason is Reason.APPROVAL_KEY:
        return "The ticket is not yours, was used before or is over, or the key cannot be used here."
    return refusal.text


def _enrolment(visit: Visit, party: RelyingParty | None, known: list[str]) -> Content:
    title = element("h2", "Enrol a key", id="enrol-title")
    if not signs(visit.principal):
        return None
    if party is None:
        text = (
            "Browsers offer security keys only at a name: the operator has to set server.public_url to an https "
            "address with a host name (or http://localhost on one's own machine)."
        )
        return element("section", title, element("p", text), class_="card", aria_labelledby="enrol-title")
    options = {
        "rp": {"id": party.id, "name": "Handrail"},
        # A user handle must not say who the person is (section 14.6.1).
        "user": {
            "id": b64url_encode(hashlib.sha256(visit.principal.pseudonym.encode()).digest()),
            "name": visit.principal.id[:_USER_NAME_MAX],
            "displayName": visit.principal.id[:_USER_NAME_MAX],
        },
        "challenge": b64url_encode(_challenge(visit)),
        "algorithms": [EDDSA, ES256],
        "exclude": known,
    }
    return element(
        "section",
        title,
        element(
            "p",
            "A security admin gives you a ticket (handrail principals enrol ID). With it your browser makes a key on "
            "your authenticator; the private half never leaves it.",
        ),
        form(
            visit,
            "/security-keys",
            element("label", "Your ticket", for_="ticket"),
            element(
                "input",
                type="text",
                id="ticket",
                name="ticket",
                autocomplete="off",
                spellcheck="false",
                autocapitalize="off",
                required=True,
            ),
            *(element("input", type="hidden", name=name, value="") for name in REGISTERED),
            element("p", id="key-status", role="status"),
            element("button", "Enrol a key", type="submit", class_="primary"),
            data={"enrol": json.dumps(options)},
        ),
        element("noscript", element("p", "Security keys need a script, and scripts are off.")),
        class_="card",
        aria_labelledby="enrol-title",
    )
