"""How a program of tests imports what gives up rights: as the launcher and the workers do."""

from hand_adapters.jail import INSIDE

ALONE = f"""
import os, sys, types
for _name in ("hand_adapters", "hand_adapters.jail"):
    _package = types.ModuleType(_name)
    _package.__path__ = [{str(INSIDE.source)!r}, "/jail"]
    sys.modules[_name] = _package
from hand_adapters.jail import kernel, landlock
"""
"""The module as the launcher and the workers import it."""
