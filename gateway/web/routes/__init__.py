"""The route table. Starlette's routes, the permission checks and ``/openapi.json`` all come from it."""

from typing import Final

from gateway.web.routes import (
    approvals,
    audit,
    controls,
    description,
    evaluations,
    exports,
    hands,
    health,
    issuers,
    keys,
    links,
    log,
    mcp,
    metrics,
    plans,
    policy,
    principals,
    privacy,
    proposals,
    receipts,
    remote,
    rollout,
    security_keys,
    trust,
)
from gateway.web.routing import Endpoint

TABLE: Final[tuple[Endpoint, ...]] = (
    *plans.ENDPOINTS,
    *mcp.ENDPOINTS,
    *approvals.ENDPOINTS,
    *receipts.ENDPOINTS,
    *principals.ENDPOINTS,
    *security_keys.ENDPOINTS,
    *links.ENDPOINTS,
    *issuers.ENDPOINTS,
    *keys.ENDPOINTS,
    *hands.ENDPOINTS,
    *policy.ENDPOINTS,
    *remote.ENDPOINTS,
    *evaluations.ENDPOINTS,
    *rollout.ENDPOINTS,
    *proposals.ENDPOINTS,
    *privacy.ENDPOINTS,
    *audit.ENDPOINTS,
    *controls.ENDPOINTS,
    *exports.ENDPOINTS,
    *trust.ENDPOINTS,
    *log.ENDPOINTS,
    *health.ENDPOINTS,
    *metrics.ENDPOINTS,
    *description.ENDPOINTS,
)
"""Hot paths first: the router tries them in this order."""
