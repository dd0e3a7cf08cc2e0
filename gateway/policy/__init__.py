"""Policy engines behind ``ports.PolicyEngine``, and the bundles that they load.

``load_engine`` is the way in. A bundle is read (``bundle``), parsed in a process of its own and checked
(``inspection``, ``builtins``), activated in an engine (``embedded`` or ``opa``) and followed (``reloading``); every
answer is read strictly (``decisions``).
"""

from gateway.policy.engine import load_engine
from gateway.policy.faults import BundleError, EngineUnavailable, PolicyFault, Problem
from gateway.policy.reloading import EventKind, PolicyEvent, ReloadingEngine

__all__ = [
    "BundleError",
    "EngineUnavailable",
    "EventKind",
    "PolicyEvent",
    "PolicyFault",
    "Problem",
    "ReloadingEngine",
    "load_engine",
]
