"""One step's use of its jail's way out: its call, its budget, its record and its connections to the hosts."""

import functools
import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from gateway.calls import HandCall
from gateway.reach import EgressRule
from gateway.settings import EgressLimits
from hand_adapters.dialer import Dialer, session
from hand_adapters.egress.ledger import Ledger
from hand_adapters.egress.limits import Budget
from hand_adapters.egress.rules import Rules


class Step:
    """Made when a call begins to be served, closed when it ends. Its connections to hosts end with it, so that none
    carries anything from one step to another."""

    def __init__(
        self, call: HandCall, rules: Rules, limits: EgressLimits, authorities: Mapping[EgressRule, Path], *, named: bool
    ) -> None:
        self.call = call
        self.rules = rules
        self.limits = limits
        self.budget = Budget(limits, time.monotonic)
        self.ledger = Ledger(call, rules.hosts, self.budget)
        self.searches = named
        """Whether the hand names secrets: then every answer is searched for them."""
        self._authorities = authorities
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def session(self, rule: EgressRule) -> aiohttp.ClientSession:
        """Over the one dialer, which judges the address that it dials."""
        if rule.private_network not in self._sessions:
            dialer = Dialer(private_network=rule.private_network, limit=self.limits.connections)
            self._sessions[rule.private_network] = session(dialer)
        return self._sessions[rule.private_network]

    def tls(self, rule: EgressRule) -> ssl.SSLContext | bool:
        """Whose certificates a host's is checked by."""
        file = self._authorities.get(rule)
        return True if file is None else believing(file)

    async def close(self) -> None:
        """Close the connections to hosts, and put the counts on record. Raises ``log.unavailable``."""
        for opened in self._sessions.values():
            await opened.close()
        await self.ledger.close()


@functools.cache
def believing(file: Path) -> ssl.SSLContext:
    """A context that believes the authorities of one file alone; read once (it takes 20 ms to read the system's).

    Raises:
        OSError: it is not there, or holds none.
    """
    return ssl.create_default_context(cafile=str(file))
