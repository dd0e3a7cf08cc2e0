"""An approver with a key of their own, and the list that approvers see."""

import json
import time
import uuid
from typing import Any

from joserfc import jws as jose
from joserfc.jwk import OKPKey

from gateway.model import Principal, Role
from tests.pipeline.house import APPROVER, ORIGIN, House


class Person:
    """An approver with an enrolled key."""

    def __init__(self, name: str = "bob") -> None:
        self.key = OKPKey.generate_key("Ed25519")
        self.kid = self.key.thumbprint()
        jwk = {**self.key.as_dict(private=False), "kid": self.kid, "alg": "Ed25519"}
        self.principal = Principal(name, "default", f"p-{name}", frozenset({Role.APPROVER}), approval_jwk=jwk)

    def sign(
        self, approval: dict[str, Any], key: OKPKey | None = None, typ: str = "approval+jws", **changes: Any
    ) -> bytes:
        now = int(time.time())
        claims = {
            "v": 1,
            "approval_id": approval["id"],
            "answer": "approve",
            "binding": approval["binding"],
            "approver": self.principal.id,
            "aud": ORIGIN,
            "iat": now,
            "exp": now + 60,
            "jti": uuid.uuid4().hex,
            **changes,
        }
        protected = {"alg": "Ed25519", "kid": self.kid, "typ": typ}
        return jose.serialize_compact(protected, json.dumps(claims), key or self.key, algorithms=["Ed25519"]).encode()


async def pages(house: House, viewer: Principal = APPROVER, **asked: Any) -> list[str]:
    """The id of every approval request, page after page."""
    found: list[str] = []
    after: str | None = None
    while True:
        page = await house.approvals.list(viewer, after=after, **asked)
        assert len(page["approvals"]) <= asked["limit"]
        found += [shown["id"] for shown in page["approvals"]]
        after = page["next"]
        if after is None:
            return found
        assert after == found[-1]
