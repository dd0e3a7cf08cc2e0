"""The embedded policy engine in the tests' own process, to ask a rule that the gateway has no name for."""

from typing import Any, Final

import pytest

from gateway.policy.bundle import Bundle

regorus = pytest.importorskip("regorus", reason="no regorus wheel for this platform")
_KEPT: Final[list[Any]] = []
"""For the process's life: regorus panics where an engine is let go by another thread than its own, and what is in a
cycle is let go by whichever thread collects it."""


def engine_of(bundle: Bundle | None = None, **more: str) -> Any:
    """An engine with a bundle and its data.

    Args:
        more: further modules, name -> Rego.
    """
    made = regorus.Engine()
    _KEPT.append(made)
    for module in () if bundle is None else bundle.modules:
        made.add_policy(module.path, module.source)
    if bundle is not None:
        made.add_data_json(bundle.data_json.decode())
    for name, source in more.items():
        made.add_policy(name, source)
    return made
