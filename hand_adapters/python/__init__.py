"""The python adapter: functions of an operator's file or package, run in a jailed interpreter."""

from hand_adapters.python.adapter import PythonAdapter

__all__ = ["PythonAdapter"]
