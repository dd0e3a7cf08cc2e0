"""Who may be written to. One address has one spelling, so that the schema, the policy, the approver and the server all
compare the same text: no names, comments, quotes, groups or routes, the domain in lower case and ASCII.
"""

import re
from collections.abc import Iterable
from typing import Final

from gateway.settings.mail import ADDRESS_MAX, DOMAIN, LOCAL, LOCAL_MAX

_ADDRESS: Final = re.compile(f"{LOCAL}@{DOMAIN}", re.ASCII)


def domain_of(address: str) -> str:
    """What stands after the ``@``."""
    return address.rpartition("@")[2]


def listed(address: str, patterns: Iterable[str]) -> bool:
    """Whether an address is well formed and one of ``patterns``: the very address, or ``*@DOMAIN`` of its domain."""
    if len(address) > ADDRESS_MAX or _ADDRESS.fullmatch(address) is None:
        return False
    local, _, domain = address.partition("@")
    return len(local) <= LOCAL_MAX and any(one in {address, f"*@{domain}"} for one in patterns)


def pattern_of(patterns: Iterable[str]) -> str:
    """The regular expression of a JSON schema for :func:`listed`, less the lengths: in the common part of ECMA-262 and
    linear engines."""
    exact: list[str] = []
    domains: list[str] = []
    for one in sorted(set(patterns)):
        local, _, domain = one.partition("@")
        (domains if local == "*" else exact).append(_literal(domain if local == "*" else one))
    everybody = [f"{LOCAL}@({'|'.join(domains)})"] if domains else []
    return f"^({'|'.join([*exact, *everybody])})$"


def _literal(text: str) -> str:
    return re.sub(r"([.+])", r"\\\1", text)
