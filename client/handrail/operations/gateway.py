"""The gateway itself: whom it takes the caller for, what it asks others to trust, whether it serves."""

from handrail.exchange import Operation, Request, get
from handrail.views import Json


def me() -> Operation[Json]:
    """The calling principal: ``{id, tenant, roles, hands, approval_kid}``."""
    return (yield get("me")).document


def trust() -> Operation[Json]:
    """The trust document that offline verification takes. Keep one that you got over a trusted channel."""
    return (yield get("trust")).document


def ready() -> Operation[Json]:
    """``{status, checks}``; a gateway that is not ready answers 503 with the same document."""
    return (yield Request("GET", "/readyz", also_good=frozenset({503}))).document
