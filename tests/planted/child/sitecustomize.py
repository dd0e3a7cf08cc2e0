"""Python imports this by itself in every process that tests start with their own environment: its secrets are marked
too."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("handrail_marks", Path(__file__).resolve().parent.parent / "marks.py")
if _spec is None or _spec.loader is None:
    raise ImportError("tests/planted/marks.py")
_marks = module_from_spec(_spec)
_spec.loader.exec_module(_marks)
_marks.install()
