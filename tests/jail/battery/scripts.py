"""A probe as the text of a program, and what it is told of the host that it attacks."""

import json
from pathlib import Path
from typing import Any

from tests.jail.battery.table import Probe

PREAMBLE = Path(__file__).with_name("preamble.py").read_text(encoding="utf-8")
ATTEMPT = """
print('BEGUN', flush=True)
try:
{code}
except (OSError, MemoryError) as exc:
    held(repr(exc))
held('nothing happened')
"""


def script(probe: Probe) -> str:
    """The whole program of a probe; its first argument is what :func:`arguments` gives."""
    body = "\n".join("    " + line for line in probe.code.strip().splitlines())
    return PREAMBLE + ATTEMPT.format(code=body)


def arguments(host: dict[str, Any], more: dict[str, Any]) -> str:
    """What a probe is told, as JSON."""
    plain = {name: value for name, value in host.items() if isinstance(value, str | int)}
    return json.dumps({**plain, **more})


def held(probe: Probe, said: str, ended: int) -> bool:
    """Whether a probe began and did not get out.

    Args:
        said: what it wrote.
        ended: its exit status, negative where a signal ended it.
    """
    if not said.startswith("BEGUN") or "ESCAPED" in said or "nothing happened" in said:
        return False
    # A bomb may end by the kernel's hand; everything else says itself why it was held.
    return "HELD" in said or (probe.name.endswith("_bomb") and ended != 0)
