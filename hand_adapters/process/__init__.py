"""The process adapter: declared command lines, run in the jail."""

from hand_adapters.process.adapter import ProcessAdapter

__all__ = ["ProcessAdapter"]
