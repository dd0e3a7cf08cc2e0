"""Where a hand's requests may go, and which secrets go with them: the operator's word, as the manifest has it, and what
a decision leaves of it.
"""

from gateway.calls import HandCall
from gateway.ports import HandFailure
from gateway.reach import EgressRule, SecretUse
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError, origin_of
from hand_adapters.contract import Aimed, HandAdapter, HandError
from hand_adapters.dialer import is_literal, permitted


def egress_rules(hand_id: str, settings: HandSettings) -> tuple[EgressRule, ...]:
    """What the operator lets a hand's jail reach, in one order.

    Raises:
        SettingsError: an address that is never dialled, a host both seen and blind, or a secret that no rule lets go
            where it belongs.
    """
    rules: list[EgressRule] = []
    for number, one in enumerate(settings.egress):
        where = f"hands.{hand_id}.egress[{number}]"
        if is_literal(one.host) and not permitted(one.host, private_network=one.private_network):
            raise SettingsError(f"{where}.host: the gateway does not dial that address")
        rules.append(
            EgressRule(
                one.scheme,
                one.host,
                one.port or (443 if one.scheme == "https" else 80),
                () if one.blind else tuple(sorted(set(one.methods))),
                tuple(sorted(set(one.paths))),
                one.blind,
                one.credential,
                one.private_network,
            )
        )
    blind = {rule.origin for rule in rules if rule.blind}
    seen = {rule.origin for rule in rules if not rule.blind}
    if both := sorted(blind & seen):
        raise SettingsError(f"hands.{hand_id}.egress: {both[0]} is blind in one rule and not in another")
    if rules:
        for name, secret in settings.secrets.items():
            if lost := sorted({origin_of(target) for target in secret.targets} - seen):
                raise SettingsError(
                    f"hands.{hand_id}.secrets.{name}.targets: no rule of egress that is not blind names {lost[0]}"
                )
    return tuple(sorted(rules, key=lambda rule: (rule.origin, rule.paths, rule.methods)))


def secret_uses(hand_id: str, settings: HandSettings) -> tuple[SecretUse, ...]:
    """The secrets that the operator declared for a hand, by name.

    Raises:
        SettingsError: one without a target, one that would travel in clear, or two for one place.
    """
    uses: list[SecretUse] = []
    for name, secret in sorted(settings.secrets.items()):
        where = f"hands.{hand_id}.secrets.{name}"
        own = settings.base_url or settings.url or settings.password_origin
        given = secret.targets or ((own,) if own else ())
        try:
            targets = tuple(sorted({origin_of(target) for target in given}))
        except ValueError as exc:
            raise SettingsError(f"{where}.targets: {exc}") from None
        if not targets:
            raise SettingsError(f"{where}: name its targets")
        if not _private(settings) and any(target.startswith("http://") for target in targets):
            raise SettingsError(f"{where}.targets: plain http needs private_network = true; use https")
        use = SecretUse(
            name,
            secret.store if secret.connection is None else "",
            secret.place,
            targets,
            secret.parameter,
            secret.username,
            connection=secret.connection,
            methods=tuple(sorted(set(secret.methods))),
            paths=tuple(sorted(set(secret.paths))),
        )
        if use.slot in {other.slot for other in uses}:
            raise SettingsError(f"{where}: another secret of the hand is in the same place")
        uses.append(use)
    return tuple(uses)


def require(adapter: HandAdapter, call: HandCall) -> None:
    """Go on, unless policy lets a call reach named hosts alone and nobody holds it to them: a jail's gate does, or an
    adapter that knows where it sends.

    Raises:
        HandError: ``policy.obligation``, not executed.
    """
    if call.egress_hosts is None or adapter.needs_jail:
        return
    hosts: set[str] = set(adapter.hosts) if isinstance(adapter, Aimed) else set()
    if not hosts or not hosts <= set(call.egress_hosts):
        raise HandError(Reason.POLICY_OBLIGATION, HandFailure.NOT_EXECUTED, "a host that the decision does not name")


def _private(settings: HandSettings) -> bool:
    """Whether plain HTTP may be spoken: by the hand, or, of one in a jail, where its rules of egress say so."""
    return settings.private_network or bool(settings.egress)
