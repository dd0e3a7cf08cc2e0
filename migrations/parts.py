"""The tables that each part makes by itself, in their order."""

from typing import Final

from migrations import (
    client_calls,
    client_steps,
    connections,
    leases,
    letters,
    managed_agents,
    offers,
    people,
    postings,
    privacy,
    retention,
    runs,
    secrets,
    signing,
    undelivered,
    witnesses,
)

PARTS: Final = (
    people,
    privacy,
    postings,
    witnesses,
    offers,
    letters,
    leases,
    runs,
    retention,
    secrets,
    connections,
    signing,
    undelivered,
    client_steps,
    client_calls,
    managed_agents,
)
