"""The jail: a program runs in it with no network, no secrets and no way to outlive its deadline (docs/sandbox.md)."""

from hand_adapters.jail.jail import Jail
from hand_adapters.jail.process import JailedProcess
from hand_adapters.jail.profiles import PROFILES, Profile
from hand_adapters.jail.runtime import INSIDE, program
from hand_adapters.jail.scratch import Scratch
from hand_adapters.jail.spec import Bind, Completed, Gate, JailError, JailSpec

__all__ = [
    "INSIDE",
    "PROFILES",
    "Bind",
    "Completed",
    "Gate",
    "Jail",
    "JailError",
    "JailSpec",
    "JailedProcess",
    "Profile",
    "Scratch",
    "program",
]
