"""Every check, in the order in which they are shown. A check is one line in its module's list; catalogues name it."""

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from audit.assurance.catalogue import Framework, catalogues
from gateway.errors import HandrailError
from gateway.posture import log, network, people, policy, secrets
from gateway.posture.model import Check, Finding, State, Verdict
from gateway.posture.scene import Scene
from gateway.settings import Settings

CHECKS: Final[tuple[Check, ...]] = (
    *network.CHECKS,
    *secrets.CHECKS,
    *log.CHECKS,
    *policy.CHECKS,
    *people.CHECKS,
)


def scan(settings: Settings, frameworks: Sequence[Framework], now: float | None = None) -> list[Finding]:
    """Make every check once.

    Args:
        now: seconds since the epoch; default: the clock's.
    """
    scene = Scene(settings, time.time() if now is None else now)
    known = catalogues()
    findings = []
    try:
        for check in CHECKS:
            verdict = _made(check, scene)
            controls = {
                str(name): ids
                for name in frameworks
                if (ids := [control.id for control in known[name].controls if check.id in control.posture])
            }
            findings.append(Finding(check.id, verdict.state, check.severity, verdict.detail, verdict.remedy, controls))
    finally:
        scene.close()
    return findings


def _made(check: Check, scene: Scene) -> Verdict:
    """The check's verdict; what cannot be looked at is not known to be well."""
    try:
        return check.look(scene)
    except HandrailError as exc:
        return Verdict(State.UNKNOWN, exc.detail or exc.text, "Mend this, or run the scan as the gateway's user.")
    except (OSError, SQLAlchemyError) as exc:
        return Verdict(State.UNKNOWN, f"{type(exc).__name__}", "Run the scan as the gateway's user, where it runs.")
