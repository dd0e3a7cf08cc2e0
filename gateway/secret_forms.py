"""By what keys and tokens are known: the one list for what may be configured, for what leaves in a request, and for the
shipped rule ``secrets``, whose data.json has :data:`FORMS` as they stand here.

Regular expressions in RE2's syntax, which Python's and every engine's understand.
"""

from collections.abc import Mapping
from typing import Final

BEFORE: Final = r"(?:^|[^0-9A-Za-z]|\\(?:[abfnrtv]|x[0-9a-f]{2}|u[0-9a-fA-F]{4}|U[0-9a-f]{8}))"
"""What stands before a key that begins like a word: also an escape, as JSON and Go write them."""

FORMS: Final[Mapping[str, str]] = {
    "age": r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    "api_key": BEFORE + r"sk-[0-9A-Za-z_-]{20}",
    "aws": r"A[KS]IA[0-9A-Z]{16}",
    "azure": r"(?:AccountKey|SharedAccessKey)=[0-9A-Za-z+/]{40}",
    "bearer": r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.",
    "databricks": r"dapi[0-9a-f]{32}",
    "digitalocean": r"do[op]_v1_[0-9a-f]{64}",
    "github": r"gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{22}",
    "gitlab": r"gl(?:pat|dt|rt)-[0-9A-Za-z_-]{20}",
    "google": r"AIza[0-9A-Za-z_-]{35}|GOCSPX-[0-9A-Za-z_-]{28}|ya29\.[0-9A-Za-z_-]{20}",
    "handrail": r"hr_[0-9a-f]{16}_[0-9A-Za-z_-]{43}",
    "hugging_face": r"hf_[0-9A-Za-z]{34}",
    "linear": r"lin_api_[0-9A-Za-z]{40}",
    "npm": r"npm_[0-9A-Za-z]{36}",
    "private_key": r"PRIVATE KEY(?: BLOCK)?-{5}|PuTTY-User-Key-File-[23]:",
    "pulumi": BEFORE + r"pul-[0-9a-f]{40}",
    "pypi": r"pypi-AgEIcHlwaS5vcmc",
    "sendgrid": r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
    "shopify": r"shp(?:at|ss)_[0-9a-fA-F]{32}",
    "slack": r"xox[abeoprs]-[0-9A-Za-z-]{10}|hooks\.slack\.com/services/T[0-9A-Z]+/B[0-9A-Z]+/[0-9A-Za-z]{20}",
    "stripe": r"[sr]k_(?:live|test)_[0-9A-Za-z]{24}|whsec_[0-9A-Za-z]{32}",
    "vault": r"hv[sb]\.[0-9A-Za-z_-]{24}",
}
"""Kind -> its published form, as far as it takes to know one; a key may go on behind it."""

PREFIXES: Final = r"gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk-ant-|sk-proj-|sk_live_|rk_live_|npm_|pypi-|hf_|hr_"
"""How tokens begin, whose rest is letters, digits, ``_`` and ``-``: also shorter than the published form, for who
would rather take out too much."""
PASSWORDS: Final = r"://[^/\s:@\"']+:[^/\s@\"']+@"
"""Name and password in a URL."""
