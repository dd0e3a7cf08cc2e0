"""Sources of Python hands that come with the gateway. Nothing imports them but a jailed interpreter."""

from pathlib import Path
from typing import Final

TOOLSETS: Final = {"agent_toolset_20260401": Path(__file__).with_name("agent_toolset.py")}
"""Name of a toolset, as its provider calls it -> its source."""
