"""Which rule of a hand lets a request through, by the manifest and by the decision on the step. No I/O."""

from collections.abc import Collection, Sequence

from gateway.reach import EgressRule, path_matches
from hand_adapters.egress.causes import Cause, Denied


class Rules:
    """A hand's rules of egress."""

    def __init__(self, rules: Sequence[EgressRule]) -> None:
        self._rules = tuple(rules)
        self.hosts = frozenset(rule.host for rule in rules)
        self.seen = frozenset(rule.host for rule in rules if not rule.blind)
        self.has_blind = any(rule.blind for rule in rules)

    def request(
        self, scheme: str, host: str, port: int, method: str, path: str, hosts: Collection[str] | None
    ) -> EgressRule:
        """The rule that lets a request through. One that the jail sends in plain HTTP may be for a host that is spoken
        to in TLS: on its own port, or on 80 for 443.

        Args:
            hosts: what the decision names; ``None`` where it says nothing.

        Raises:
            Denied: ``host``, ``decision``, ``method`` or ``path``.
        """
        named = [rule for rule in self._of(host) if not rule.blind and rule.scheme == scheme and rule.port == port]
        if not named and scheme == "http":
            upgraded = {port, 443 if port == 80 else port}
            named = [rule for rule in self._of(host) if not rule.blind and rule.port in upgraded]
        _require(host, hosts, named)
        named = [rule for rule in named if method in rule.methods]
        if not named:
            raise Denied(Cause.METHOD, host)
        for rule in named:
            if any(path_matches(pattern, path) for pattern in rule.paths):
                return rule
        raise Denied(Cause.PATH, host)

    def tunnel(self, host: str, port: int, hosts: Collection[str] | None) -> EgressRule | None:
        """Of a CONNECT: the rule that lets it through unseen; ``None`` where what is within will be judged.

        Raises:
            Denied: ``host`` or ``decision``.
        """
        named = [rule for rule in self._of(host) if rule.port == port or (port == 80 and rule.port == 443)]
        _require(host, hosts, named)
        return next((rule for rule in named if rule.blind and rule.port == port), None)

    def pattern(self, rule: EgressRule, path: str) -> str:
        """The operator's words that a path fell under."""
        return next(pattern for pattern in rule.paths if path_matches(pattern, path))

    def _of(self, host: str) -> list[EgressRule]:
        return [rule for rule in self._rules if rule.host == host]


def _require(host: str, hosts: Collection[str] | None, named: Sequence[EgressRule]) -> None:
    if not named:
        raise Denied(Cause.HOST, host)
    if hosts is not None and host not in hosts:
        raise Denied(Cause.DECISION, host)
