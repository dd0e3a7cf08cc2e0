"""The pages of proposals: what waits for people, and one exact change with whoever agreed, to sign or to take back."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from gateway.canonical import canonical
from gateway.console import signing
from gateway.console.approvals import argument_item
from gateway.console.html import Content, Markup, element
from gateway.console.layout import alert, facts, form, isolated, page, redirect, section, when
from gateway.console.visits import Visit, own_keys
from gateway.errors import HandrailError, Malformed, Refused
from gateway.permissions import Permission, permits
from gateway.proposals.acts import Said
from gateway.proposals.rendering import ProposalRendering, agreed, render_proposal
from gateway.reasons import Reason
from gateway.rendering import moment
from gateway.two_person import RULES, Kind, ProposalStatus
from gateway.web.bodies import after_id, one_of, query, segment
from gateway.web.errors import ERRORS, report

SIGN: Final = "sign"
ACTIVATE: Final = "activate"
WITHDRAW: Final = "withdraw"
FIELDS: Final = ("shown", "act", *signing.ASSERTED)
"""Fields of the form."""
_BINDING: Final = ("id", "kind", "tenant", "subject", "document_sha256")
_CLASSES: Final[Mapping[str, str]] = {"activated": "granted", "withdrawn": "refused", "ended": "refused"}
"""Status -> how it is coloured, where that is another word than its own."""


async def list_(visit: Visit) -> Response:
    """A page of the proposals that are open, or of all of them, newest first."""
    asked = query(visit.request, "after", "all")
    everything = one_of(asked.get("all"), "all", {"1": True}.__getitem__, "1") or False
    status = None if everything else ProposalStatus.OPEN
    found = await visit.gateway.proposals.list(visit.principal, status, after=after_id(asked))
    rows = [_row(proposal, visit.gateway.clock()) for proposal in found["proposals"]]
    more = None
    if found["next"] is not None:
        kept = "all=1&" if everything else ""
        more = element("p", element("a", "Older proposals", href=f"/proposals?{kept}after={found['next']}"))
    title = "All proposals" if everything else "Proposals that wait"
    other = ("/proposals", "Only those that wait") if everything else ("/proposals?all=1", "Also those that ended")
    return page(
        title,
        element("h1", title),
        element("ul", *rows, class_="requests") if rows else element("p", "Nothing waits for anybody's word."),
        more,
        element("p", element("a", other[1], href=other[0])),
        visit=visit,
    )


async def show(visit: Visit) -> Response:
    """One proposal."""
    query(visit.request)
    view, obstacle = await visit.gateway.proposals.look(segment(visit.request, "proposal_id"), visit.principal)
    return await _page(visit, view, obstacle)


async def act(visit: Visit) -> Response:
    """Take the person's word on exactly the proposal that the form was made for."""
    proposals = visit.gateway.proposals
    proposal_id = segment(visit.request, "proposal_id")
    view = await proposals.show(proposal_id, visit.principal)
    try:
        word = one_of(visit.form.get("act"), "act", {one: one for one in (SIGN, ACTIVATE, WITHDRAW)}.__getitem__, SIGN)
        if word is None:
            raise Malformed("no act", parameter="act", expected=f"{SIGN}, {ACTIVATE}, {WITHDRAW}")
        if visit.form.get("shown") != shown_of(view):
            raise Refused(Reason.PROPOSAL_MISMATCH, "not the proposal that the page showed")
        said = Said(asserted=signing.asserted(visit.form))
        document_sha256 = view["document_sha256"]
        if word == WITHDRAW:
            await proposals.withdraw(proposal_id, visit.principal)
        elif word == SIGN:
            await proposals.sign(proposal_id, visit.principal, document_sha256=document_sha256, said=said)
        else:
            await proposals.activate(proposal_id, visit.principal, document_sha256=document_sha256, said=said)
    except HandrailError as refusal:
        report(visit.request.scope, refusal)
        view, obstacle = await proposals.look(proposal_id, visit.principal)
        return await _page(visit, view, obstacle, refusal=refusal)
    return redirect(f"/proposals/{proposal_id}")


async def challenge(visit: Visit) -> Response:
    """What the person's security key is to sign, for the page's script."""
    query(visit.request)
    proposals = visit.gateway.proposals
    payload, keys = await proposals.challenge(segment(visit.request, "proposal_id"), visit.principal)
    return signing.challenge(payload, keys, proposals.acts.party)


def shown_of(view: Mapping[str, Any]) -> str:
    """Hex SHA-256 of what is signed: a form is good for the one proposal that its page showed."""
    return hashlib.sha256(canonical(_binding(view))).hexdigest()


def _binding(view: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(view[name]) for name in _BINDING}


def _word(view: Mapping[str, Any]) -> str:
    return SIGN if RULES[Kind(view["kind"])].counted else ACTIVATE


def _row(view: Mapping[str, Any], now: float) -> Markup:
    told = render_proposal(view)
    ends = when("expires", view["expires_at"], now) if view["status"] == ProposalStatus.OPEN else told.standing
    return element(
        "li",
        element("a", isolated(told.title), href=f"/proposals/{view['id']}"),
        element("p", isolated(str(view["kind"])), ", about ", isolated(str(view["subject"])), class_="values"),
        element(
            "p",
            "Proposed by ",
            isolated(str(view["proposed_by"])),
            f", {agreed(view)} agreed, ",
            ends,
            class_="quiet",
        ),
    )


async def _page(
    visit: Visit, view: Mapping[str, Any], obstacle: Refused | None, *, refusal: HandrailError | None = None
) -> Response:
    told = render_proposal(view)
    status = ProposalStatus(view["status"])
    now = visit.gateway.clock()
    waits = status is ProposalStatus.OPEN and (obstacle is None or obstacle.reason is not Reason.PROPOSAL_EXPIRED)
    content: list[Content] = [
        None if refusal is None else alert(f"Nothing was done. {_said(refusal)}"),
        element("p", f"{told.standing}.", class_=f"state {_CLASSES.get(status, status)}"),
        element("h1", "Should this be? " if waits else "", isolated(f"{told.title}.")),
        element("p", when("It expires", view["expires_at"], now), class_="quiet") if waits else None,
        _mind(told),
        section("change", "What changes", *_changes(told)),
        _request(view, told),
        await _freeze(visit, view),
        section("people", f"Who agreed: {agreed(view)}", _people(view)),
        await _decision(visit, view, obstacle),
        _document(view),
    ]
    code = 200 if refusal is None else ERRORS[refusal.reason][0]
    return page(f"{told.title}: {told.standing}", *content, visit=visit, status=code)


def _said(refusal: HandrailError) -> str:
    if refusal.reason is Reason.PROPOSAL_MISMATCH:
        return f"{refusal.text} Below is what is proposed: read it, and say anew what you want."
    return str(refusal.facts.get("why", refusal.text))


def _mind(told: ProposalRendering) -> Content:
    if not told.warnings:
        return None
    items = (element("li", isolated(warning)) for warning in told.warnings)
    return section("mind", "Before you agree", element("ul", *items), class_="note warn")


def _changes(told: ProposalRendering) -> list[Content]:
    meaning = element("ul", *(element("li", isolated(one)) for one in told.meaning)) if told.meaning else None
    head = element("tr", *(element("th", name, scope="col") for name in ("What", "Before", "After")))
    rows = (
        element(
            "tr",
            element("th", isolated(what), scope="row"),
            element("td", element("code", isolated(was))),
            element("td", element("code", isolated(is_))),
        )
        for what, was, is_ in told.changes
    )
    table = element("table", element("thead", head), element("tbody", *rows))
    return [meaning, element("div", table, class_="wide", tabindex=0, role="group", aria_label="Before and after")]


def _request(view: Mapping[str, Any], told: ProposalRendering) -> Content:
    if not RULES[Kind(view["kind"])].counted:
        return None
    if told.request is None:
        text = "Who it is about is shown to those who may sign; where it was erased, to nobody any more."
        return section("request", "What was asked for", element("p", text))
    listed = element("ol", *(argument_item(one) for one in told.request), class_="arguments")
    return section("request", "What was asked for", listed)


async def _freeze(visit: Visit, view: Mapping[str, Any]) -> Content:
    """What a lift would let run again."""
    if view["kind"] != Kind.FREEZE_LIFT or not permits(visit.principal, Permission.FREEZES_READ):
        return None
    listed = await visit.gateway.freezing.list(visit.principal, lifted=True)
    found = next((one for one in listed["freezes"] if one["id"] == view["subject"]), None)
    if found is None:
        return section("freeze", "The freeze", element("p", "It is not known here."))
    rows: list[tuple[str, Content]] = [
        ("scope", found["scope"]),
        ("what", isolated(str(found.get("subject", "everything")))),
        ("cause", found["cause"]),
        ("why", isolated(str(found.get("why") or "-"))),
        ("frozen by", isolated(str(found.get("by", "-")))),
        ("frozen at", moment(found["at"])),
        ("lifted", "yes" if found["lifted"] else "no"),
    ]
    return section("freeze", "The freeze", facts(rows))


def _people(view: Mapping[str, Any]) -> Content:
    proposer = element(
        "li",
        element("strong", isolated(str(view["proposed_by"]))),
        f" proposed it at {moment(view['proposed_at'])}, attested by {view['proposed_attested_by']}",
    )
    signed = [_signature(one) for one in view.get("signatures") or ()]
    if "needed" not in view and view.get("decided_by") and view["status"] in {"activated", "ended"}:
        signed = [
            element(
                "li",
                element("strong", isolated(str(view["decided_by"]))),
                f" activated it at {moment(view['decided_at'])}, attested by {view['decided_attested_by']}",
            )
        ]
    return element("ul", proposer, *signed)


def _signature(one: Mapping[str, Any]) -> Markup:
    key: Content = None if one["kid"] is None else (", with the key ", element("code", isolated(str(one["kid"]))))
    void = None if one["counts"] else element("p", "It does not count: the person or the key may not sign any more.")
    return element(
        "li",
        element("strong", isolated(str(one["by"]))),
        f" signed at {moment(one['at'])}, attested by {one['attested_by']}",
        key,
        void,
    )


async def _decision(visit: Visit, view: Mapping[str, Any], obstacle: Refused | None) -> Markup:
    """The form, or why there is none."""
    title = "Your word"
    buttons: list[Content] = []
    texts: list[Content] = []
    dataset = None
    key_texts: Content = None
    if obstacle is not None:
        texts.append(element("p", _why_not(view, obstacle)))
    elif "needed" in view and "request" not in view:
        texts.append(element("p", "What cannot be shown cannot be signed."))
    else:
        has_key = bool(await own_keys(visit))
        text, may = await _vouching(visit, view, has_key=has_key)
        texts.append(element("p", text))
        word = _word(view)
        if may:
            buttons.append(
                element("button", word.capitalize(), type="submit", name="act", value=word, class_="approve")
            )
        if has_key:
            dataset = signing.data(f"/proposals/{view['id']}/challenge", word, _binding(view))
            key_texts = signing.NO_SCRIPT
    if _may_withdraw(visit, view):
        label = "End it" if view["status"] == ProposalStatus.ACTIVATED else "Withdraw"
        buttons.append(element("button", label, type="submit", name="act", value=WITHDRAW, class_="refuse"))
        texts.append(
            element("p", f"{label}: it ends for everybody, at once. One person is enough, and no key is asked for.")
        )
    if not buttons:
        return section("answer", title, *texts)
    return section(
        "answer",
        title,
        form(
            visit,
            f"/proposals/{view['id']}",
            element("input", type="hidden", name="shown", value=shown_of(view)),
            *(signing.inputs() if dataset else ()),
            *texts,
            element("p", id="key-status", role="status"),
            element("div", *buttons, class_="buttons"),
            data=dataset,
        ),
        key_texts,
    )


def _may_withdraw(visit: Visit, view: Mapping[str, Any]) -> bool:
    standing = view["status"] == ProposalStatus.ACTIVATED and "in_force_until" in view
    mine = view["status"] == ProposalStatus.OPEN and view["proposed_by"] == visit.principal.id
    if not permits(visit.principal, Permission.PROPOSALS_MAKE):
        return False
    may = permits(visit.principal, RULES[Kind(view["kind"])].activate)
    return mine or (may and (standing or view["status"] == ProposalStatus.OPEN))


def _why_not(view: Mapping[str, Any], obstacle: Refused) -> str:
    """Why the visitor has nothing to agree to."""
    if view["status"] != ProposalStatus.OPEN:
        return "It is decided: there is nothing left to agree to."
    if obstacle.reason is Reason.AUTH_FORBIDDEN:
        roles = "a security admin" if _word(view) == SIGN or view["kind"] == Kind.FREEZE_LIFT else "an operator"
        return f"You may look at it. To agree to it takes {roles}."
    return str(obstacle.facts.get("why", obstacle.text))


async def _vouching(visit: Visit, view: Mapping[str, Any], *, has_key: bool) -> tuple[Content, bool]:
    """Whose word the agreement will be, and whether it can be given here."""
    person = visit.principal
    if has_key:
        return "Your browser asks for your security key, which signs exactly this and nothing else.", True
    command = element("code", f"handrail proposals {_word(view)} {view['id']}")
    if person.approval_jwk is not None:
        return ("You have a key in a file, and agree with it at the terminal: ", command, "."), False
    if await visit.gateway.directory.has_key(person.tenant, person.pseudonym):
        enrol = element("a", "enrol one", href="/security-keys")
        return (
            "You have, or had, a security key, and only one speaks for you. None can be used here: ",
            enrol,
            ".",
        ), False
    return "The gateway records that it was you.", True


def _document(view: Mapping[str, Any]) -> Markup:
    rows = [(name.replace("_", " "), element("code", isolated(value))) for name, value in _binding(view).items()]
    raw = json.dumps(view["document"], indent=2, sort_keys=True, ensure_ascii=True)
    return element(
        "details",
        element("summary", "The exact document, and what a signature is bound to"),
        facts(rows),
        element("pre", isolated(raw), tabindex=0, role="group", aria_label="The document"),
        class_="card",
    )
