"""What every hand promises, tried from outside: ``handrail hands check``, and the tests of whoever writes an adapter.

Arguments are made from the schemas that a hand offers, the same ones for the same seed. What is found names the
promise, the action, the arguments, what was seen, and the command that shows it again.
"""

from hand_adapters.conformance.options import Options
from hand_adapters.conformance.promises import TEXTS, Promise, Status, Verdict
from hand_adapters.conformance.report import Report
from hand_adapters.conformance.suite import check_adapter, check_hand
from hand_adapters.conformance.traces import WatchedJail

__all__ = [
    "TEXTS",
    "Options",
    "Promise",
    "Report",
    "Status",
    "Verdict",
    "WatchedJail",
    "check_adapter",
    "check_hand",
]
