"""The pages of approval requests: what waits, and one exact call with its reasons and the person's answer."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from gateway.canonical import canonical
from gateway.console import signing
from gateway.console.html import Content, Markup, element
from gateway.console.layout import alert, facts, form, isolated, page, redirect, section, when
from gateway.console.visits import Visit, own_keys
from gateway.errors import HandrailError, Malformed, Refused
from gateway.lookalikes import ADDRESSES
from gateway.model import Answer, ApprovalStatus
from gateway.permissions import Permission, permits
from gateway.reasons import TEXTS, Reason
from gateway.rendering import Argument, Rendering, left_out, moment, progress, render
from gateway.web.bodies import after_id, one_of, query, segment
from gateway.web.errors import ERRORS, report

_PREVIEWS: Final = 3
_PREVIEW_CHARACTERS: Final = 100
_QUIET: Final = frozenset({"hand", "action", "status", "approvals", "context", "plan", "step", "args sha256"})
"""Facts of a rendering that stand elsewhere on the page."""


async def list_(visit: Visit) -> Response:
    """A page of the requests that wait, newest first."""
    after = after_id(query(visit.request, "after"))
    found = await visit.gateway.approvals.list(visit.principal, ApprovalStatus.OPEN, after=after)
    rows = [_row(request, visit.gateway.clock()) for request in found["approvals"]]
    listed = element("ul", *rows, class_="requests") if rows else element("p", "Nothing waits for an answer.")
    more = None
    if found["next"] is not None:
        more = element("p", element("a", "Older requests", href=f"/approvals?after={found['next']}"))
    return page("Requests", element("h1", "Requests that wait"), listed, more, visit=visit)


async def show(visit: Visit) -> Response:
    """One request."""
    whole = one_of(query(visit.request, "whole").get("whole"), "whole", {"1": True}.__getitem__, "1") or False
    approval_id = segment(visit.request, "approval_id")
    view, obstacle = await visit.gateway.approvals.look(approval_id, visit.principal)
    return await _page(visit, view, obstacle, whole=whole)


async def answer(visit: Visit) -> Response:
    """Take the person's answer to exactly the call that the form was made for."""
    approval_id = segment(visit.request, "approval_id")
    view, obstacle = await visit.gateway.approvals.look(approval_id, visit.principal)
    try:
        given = one_of(visit.form.get("answer"), "answer", Answer)
        if given is None:
            raise Malformed("no answer", parameter="answer", expected=", ".join(Answer))
        if visit.form.get("call") != call_of(view):
            raise Refused(Reason.APPROVAL_MISMATCH, "not the call that the page showed")
        asserted = signing.asserted(visit.form)
        if asserted is not None:
            await visit.gateway.approvals.answer(approval_id, visit.principal, asserted=asserted)
        else:
            asked = view.get("asked")
            await visit.gateway.approvals.answer(approval_id, visit.principal, answer=given, asked=asked)
    except HandrailError as refusal:
        report(visit.request.scope, refusal)
        view, obstacle = await visit.gateway.approvals.look(approval_id, visit.principal)
        return await _page(visit, view, obstacle, refusal=refusal)
    return redirect(f"/approvals/{approval_id}")


async def challenge(visit: Visit) -> Response:
    """What the person's security key is to sign, for the page's script."""
    asked = one_of(query(visit.request, "answer").get("answer"), "answer", Answer)
    approval_id = segment(visit.request, "approval_id")
    approvals = visit.gateway.approvals
    payload, keys = await approvals.challenge(approval_id, visit.principal, asked or Answer.APPROVE)
    return signing.challenge(payload, keys, approvals.party)


def call_of(view: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the binding: a form is good for the one call that its page showed."""
    return hashlib.sha256(canonical(view.get("binding") or {})).hexdigest()


def _row(request: Mapping[str, Any], now: float) -> Markup:
    shown = render(request)
    return element(
        "li",
        element("a", isolated(shown.call), href=f"/approvals/{request['id']}"),
        element("p", [_preview(argument) for argument in _telling(shown)]),
        element("p", [reason_line(reason) for reason in shown.reasons[:2]]),
        element(
            "p",
            "Asked by ",
            isolated(str(request["requested_by"])),
            ", ",
            when("expires", request["expires_at"], now),
            f", {progress(request)} approvals",
            class_="quiet",
        ),
    )


def _telling(shown: Rendering) -> list[Argument]:
    """The values by which a person tells one request from another: those that say where something goes come first."""
    return sorted(shown.arguments or (), key=lambda argument: argument.role not in ADDRESSES)[:_PREVIEWS]


def _preview(argument: Argument) -> Markup:
    text = argument.head if len(argument.head) <= _PREVIEW_CHARACTERS else f"{argument.head[:_PREVIEW_CHARACTERS]}..."
    return element("span", isolated(f"{argument.name}: {text}".replace("\n", " ")), class_="values")


def reason_line(reason: str) -> Markup:
    """One reason on a line of its own."""
    return element("span", isolated(reason), class_="reason")


async def _page(
    visit: Visit,
    view: Mapping[str, Any],
    obstacle: Reason | None,
    *,
    whole: bool = False,
    refusal: HandrailError | None = None,
) -> Response:
    shown = render(view, whole=whole)
    now = visit.gateway.clock()
    status = ApprovalStatus(view["status"])
    asks = status is ApprovalStatus.OPEN and obstacle is not Reason.APPROVAL_EXPIRED
    content: list[Content] = []
    if refusal is not None:
        content.append(alert(f"Your answer was not taken. {_why_not(refusal, view)}", _successor(view)))
    content += [
        element("p", " ".join(shown.standing), class_=f"state {status}"),
        None if refusal is not None else _successor(view),
        element("h1", "May this run? " if asks else "No longer asked: ", element("code", isolated(shown.call))),
        _expiry(view, now) if asks else None,
        _warnings(shown),
        section(
            "why",
            "Why you are asked" if asks else "Why people were asked",
            *(reason_line(reason) for reason in shown.reasons),
        ),
        section("call", "The exact call", facts(_call_facts(shown)), _arguments(view, shown, whole=whole)),
        section("asker", "Who asks", facts(_asker_facts(shown))),
        section("answers", f"Answers so far: {progress(view)}", _answers(view)),
        _answer_form(visit, view, shown, obstacle, has_key=bool(await own_keys(visit))),
        _bound(view),
    ]
    code = 200 if refusal is None else ERRORS[refusal.reason][0]
    return page(f"{shown.call}: {shown.standing[0]}", *content, visit=visit, status=code)


_CHANGED: Final = frozenset({Reason.APPROVAL_MISMATCH, Reason.APPROVAL_VOIDED, Reason.APPROVAL_CLOSED})


def _why_not(refusal: HandrailError, view: Mapping[str, Any]) -> str:
    """What came between the page that was answered and the answer, and what to do now."""
    if refusal.reason not in _CHANGED:
        return refusal.text
    if view["status"] != ApprovalStatus.OPEN:
        return "The request ended while the page was open: there is nothing left to answer here."
    if view["your_answer"] is not None:
        return "You have answered this request already, and your first answer counts. Nothing is left for you to do."
    if refusal.reason is Reason.APPROVAL_VOIDED:
        return (
            "The policy or the tool changed while the page was open, and the call is judged anew. Open the list of "
            "requests in a moment: if the call still needs a person, it is there."
        )
    return (
        f"{refusal.text} The request changed while the page was open, and your answer was to what the page showed "
        "before. Below is what is asked now: read it, and answer it anew."
    )


def _successor(view: Mapping[str, Any]) -> Content:
    if view["successor"] is None:
        return None
    return element("p", element("a", "Open the request that asks now", href=f"/approvals/{view['successor']}"))


def _warnings(shown: Rendering) -> Content:
    if not shown.warnings:
        return None
    items = (element("li", isolated(warning)) for warning in shown.warnings)
    heading = element("h2", "Before you answer", id="mind-title")
    return element("section", heading, element("ul", *items), class_="note warn", aria_labelledby="mind-title")


_CALL_LABELS: Final = ("hand", "action", "the tool says", "side effects")


def _call_facts(shown: Rendering) -> list[tuple[str, Content]]:
    return [(label, isolated(value)) for label, value in shown.facts if label in _CALL_LABELS]


def _asker_facts(shown: Rendering) -> list[tuple[str, Content]]:
    return [
        (label, isolated(value)) for label, value in shown.facts if label not in _QUIET and label not in _CALL_LABELS
    ]


def _arguments(view: Mapping[str, Any], shown: Rendering, *, whole: bool) -> Content:
    if shown.arguments is None:
        return element("p", "The arguments were erased and can no longer be shown.")
    if not shown.arguments:
        return element("p", "It has no arguments.")
    listed = element("ol", *(argument_item(argument) for argument in shown.arguments), class_="arguments")
    cut = any(argument.cut is not None for argument in shown.arguments) or shown.left_out
    notes: list[Content] = []
    if shown.left_out:
        notes.append(element("p", left_out(shown.left_out, shown.args_sha256), class_="cut"))
    if cut and not whole:
        link = element("a", "Show everything, uncut", href=f"/approvals/{view['id']}?whole=1")
        notes.append(element("p", link))
    return (listed, *notes)


def argument_item(argument: Argument) -> Markup:
    """One value of what is asked for, with what to look at twice in it."""
    role = None if argument.role is None else element("span", argument.role, class_="role")
    name = element(
        "div",
        element("code", isolated(argument.name), class_="name"),
        " ",
        element("span", argument.kind, class_="kind"),
        " ",
        role,
        class_="label",
    )
    parts: list[Content] = [name]
    if argument.head or argument.kind == "text":
        # Focusable, because what is wider than the screen is scrolled, by keyboard too.
        parts.append(_value(argument.head, argument.name))
    if argument.cut is not None:
        parts += [element("p", str(argument.cut), class_="cut"), _value(argument.tail, f"{argument.name}, its end")]
    if argument.host is not None:
        parts.append(element("p", "Goes to the host ", element("code", isolated(argument.host)), class_="host"))
    parts += (element("p", isolated(warning), class_="warning") for warning in argument.warnings)
    return element("li", *parts)


def _value(text: str, label: str) -> Markup:
    return element("pre", isolated(text), tabindex=0, role="group", aria_label=label)


def _answers(view: Mapping[str, Any]) -> Content:
    answers, void = view["answers"], view["void_answers"]
    return (
        element("ul", *map(_given, answers)) if answers else element("p", "Nobody has answered yet."),
        (element("p", "Void, because the policy changed since:"), element("ul", *map(_given, void))) if void else None,
    )


def _given(answer: Mapping[str, Any]) -> Markup:
    words = {"approve": "approved", "refuse": "refused"}
    return element(
        "li",
        element("strong", isolated(str(answer["approver"]))),
        f" {words[answer['answer']]} at {moment(answer['at'])}, attested by {answer['attested_by']}",
    )


def _answer_form(
    visit: Visit, view: Mapping[str, Any], shown: Rendering, obstacle: Reason | None, *, has_key: bool
) -> Markup:
    if not permits(visit.principal, Permission.APPROVALS_ANSWER):
        return section("answer", "Your answer", element("p", "You may look at requests and answer none."))
    if obstacle is not None:
        return section("answer", "Your answer", element("p", _no_form(view, shown, obstacle)))
    if shown.arguments is None:
        return section("answer", "Your answer", element("p", "A call that cannot be shown cannot be approved."))
    needs_key = bool(view["enrolled_key"])
    approve = element("button", "Approve", type="submit", name="answer", value="approve", class_="approve")
    refuse = element("button", "Refuse", type="submit", name="answer", value="refuse", class_="refuse")
    inputs = [element("input", type="hidden", name="call", value=call_of(view))]
    if has_key:
        inputs += signing.inputs()
    return section(
        "answer",
        "Your answer",
        form(
            visit,
            f"/approvals/{view['id']}",
            *inputs,
            element("p", "You answer for this exact call and no other: one changed byte voids it."),
            element("p", _vouching(view, has_key=has_key, needs_key=needs_key)),
            element("p", id="key-status", role="status"),
            element("div", approve if has_key or not needs_key else None, refuse, class_="buttons"),
            data=signing.data(f"/approvals/{view['id']}/challenge?answer=approve", "approve", view["binding"])
            if has_key
            else None,
        ),
        signing.NO_SCRIPT if has_key else None,
    )


def _no_form(view: Mapping[str, Any], shown: Rendering, obstacle: Reason) -> str:
    """Why the visitor has nothing to answer."""
    if view["status"] == ApprovalStatus.OPEN and view["your_answer"] is not None:
        return shown.standing[1]
    if view["status"] != ApprovalStatus.OPEN:
        return "The request has ended: there is nothing left to answer."
    return TEXTS[obstacle]


def _vouching(view: Mapping[str, Any], *, has_key: bool, needs_key: bool) -> Content:
    """Whose word the approval will be."""
    if has_key:
        return "To approve, your browser asks for your security key, which signs this call. A refusal needs none."
    if needs_key:
        return (
            "The policy wants an approval that your own enrolled key signs: enrol a ",
            element("a", "security key", href="/security-keys"),
            ", or use your key at the terminal: ",
            element("code", f"handrail approvals approve {view['id']}"),
            ". You can refuse without one.",
        )
    return "The gateway records that it was you."


def _bound(view: Mapping[str, Any]) -> Content:
    binding = view.get("binding")
    if binding is None:
        return None
    rows = [("request", view["id"]), *((name.replace("_", " "), value) for name, value in binding.items())]
    shown = facts((name, element("code", isolated(str(value)))) for name, value in rows)
    return element("details", element("summary", "What an answer is bound to"), shown, class_="card")


def _expiry(view: Mapping[str, Any], now: float) -> Markup:
    return element("p", when("It expires", view["expires_at"], now), class_="quiet")
