"""By what keys and tokens are known: the one list for what may be configured and for what leaves in a request."""

from typing import Final

PREFIXES: Final = r"gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-ant-|sk-proj-|sk_live_|rk_live_|npm_|pypi-|hf_|hr_"
"""How tokens begin, whose rest is letters, digits, ``_`` and ``-`` (a part of a regular expression)."""
