"""The policy: bundles, where they come from, and those that are tried."""

from handrail.errors import UnexpectedReply
from handrail.exchange import Operation, Request, delete, get, listed, path_of, post, text_of
from handrail.keys import SigningKey
from handrail.operations.gateway import me, trust
from handrail.proposals import new_binding, sign_act
from handrail.times import Moment
from handrail.views import Json


def policy() -> Operation[Json]:
    """The active policy bundle: ``{engine, digest, files, loaded_at, problem?}``."""
    return (yield get("policy")).document


def policy_bundles() -> Operation[Json]:
    """Signed bundles and every change of the one that decides, newest first: ``{bundles, activations}``."""
    reply = yield get("policy", "bundles")
    listed(reply, "bundles"), listed(reply, "activations")
    return reply.document


def policy_bundle(digest: str) -> Operation[Json]:
    """A signed bundle: where it comes from, its files by digest, and when it decided."""
    return (yield get("policy", "bundles", digest)).document


def policy_bundle_file(digest: str) -> Operation[str]:
    """The signed file itself (``bundle+jws``)."""
    return (yield get("policy", "bundles", digest, "file")).text


def add_policy_bundle(signed: bytes) -> Operation[Json]:
    """Bring a signed bundle; it decides nothing before two people activate it."""
    reply = yield Request("POST", path_of("policy", "bundles"), body=signed, media_type="application/jose")
    return reply.document


def policy_remote() -> Operation[Json]:
    """The Git remote that bundles are pulled from, the newest that it brought, and what is wrong with it."""
    return (yield get("policy", "remote")).document


def pull_policy_remote() -> Operation[Json]:
    """Pull from the Git remote now; returns as :func:`policy_remote`. What it brings decides nothing yet."""
    return (yield post(None, "policy", "remote", "pull")).document


def rollback_policy(digest: str, *, replaces: str, key: SigningKey | None = None) -> Operation[Json]:
    """Go back to a bundle that two people activated before.

    Args:
        replaces: the bundle that decides now.
        key: the caller's enrolled key; whoever has one must sign.
    """
    body: Json = {"digest": digest}
    if key is not None:
        caller = yield from me()
        document = {"digest": digest, "replaces": replaces}
        binding = new_binding("policy.rollback", text_of(caller, "tenant"), digest, document)
        audience = text_of((yield from trust()), "origin")
        body["act"] = sign_act("rollback", binding, key=key, by=text_of(caller, "id"), audience=audience)
    return (yield post(body, "policy", "rollback")).document


def policy_rollout() -> Operation[Json]:
    """What of the policy is being brought in: ``{observed: [{hand, proposal, since, until, let_go}]}``."""
    return (yield get("policy", "rollout")).document


def policy_shadow() -> Operation[Json]:
    """The newest shadow and what it counted, over all gateways: ``{shadow, gateways, comparison}``."""
    return (yield get("policy", "shadow")).document


def start_policy_shadow(digest: str, *, lasts_seconds: int) -> Operation[Json]:
    """Have a bundle that was brought judge beside the one that decides, without effect."""
    return (yield post({"digest": digest, "lasts_seconds": lasts_seconds}, "policy", "shadow")).document


def stop_policy_shadow() -> Operation[Json]:
    """End the shadow; what it counted stays."""
    return (yield delete("policy", "shadow")).document


def policy_canary() -> Operation[Json]:
    """The canary in force, or the last one, and what came of it: ``{canary, gateways, comparison}``."""
    return (yield get("policy", "canary")).document


def evaluations(
    *, since: Moment | None = None, until: Moment | None = None, after: int | None = None, limit: int | None = None
) -> Operation[bytes]:
    """A page of recorded policy evaluations as lines of JSON: one evaluation a line, the last says where to go on.

    They hold the arguments of real calls.
    """
    asked = {"since": since, "until": until, "after": after, "limit": limit}
    reply = yield get("policy", "evaluations", query=asked)
    if reply.media_type != "application/x-ndjson":
        raise UnexpectedReply(reply.status, "the answer is not lines of JSON")
    return reply.body
