"""Which builtins a bundle may call, and why not the others.

``IMPLEMENTED`` is what *both* engines have: regorus says so itself (``opa.runtime().builtins``) and OPA by its
capabilities; a test compares this table with both, so that neither can drift from it unseen.
"""

from typing import Final

IMPLEMENTED: Final[dict[str, int]] = {
    **dict.fromkeys(
        [
            "abs",
            "array.reverse",
            "base64.decode",
            "base64.encode",
            "base64.is_valid",
            "base64url.decode",
            "base64url.encode",
            "base64url.encode_no_pad",
            "bits.negate",
            "ceil",
            "count",
            "floor",
            "hex.decode",
            "hex.encode",
            "intersection",
            "is_array",
            "is_boolean",
            "is_null",
            "is_number",
            "is_object",
            "is_set",
            "is_string",
            "json.is_valid",
            "json.unmarshal",
            "lower",
            "max",
            "min",
            "net.cidr_expand",
            "net.cidr_is_valid",
            "object.keys",
            "object.union_n",
            "product",
            "regex.is_valid",
            "round",
            "sort",
            "strings.reverse",
            "sum",
            "time.clock",
            "time.date",
            "time.parse_duration_ns",
            "time.parse_rfc3339_ns",
            "time.weekday",
            "to_number",
            "trim_space",
            "type_name",
            "union",
            "upper",
            "walk",
        ],
        1,
    ),
    **dict.fromkeys(
        [
            "array.concat",
            "bits.and",
            "bits.lsh",
            "bits.or",
            "bits.rsh",
            "bits.xor",
            "concat",
            "contains",
            "endswith",
            "format_int",
            "graph.reachable",
            "graph.reachable_paths",
            "indexof",
            "indexof_n",
            "net.cidr_contains",
            "numbers.range",
            "object.filter",
            "object.remove",
            "object.union",
            "regex.match",
            "split",
            "sprintf",
            "startswith",
            "strings.any_prefix_match",
            "strings.any_suffix_match",
            "time.diff",
            "time.parse_ns",
            "trim",
            "trim_left",
            "trim_prefix",
            "trim_right",
            "trim_suffix",
        ],
        2,
    ),
    **dict.fromkeys(
        [
            "array.slice",
            "glob.match",
            "numbers.range_step",
            "object.get",
            "regex.find_all_string_submatch_n",
            "regex.find_n",
            "regex.replace",
            "replace",
            "substring",
        ],
        3,
    ),
}
"""Name -> number of arguments."""

WITH_OUTPUT: Final[frozenset[str]] = frozenset({"walk"})
"""Builtins that must be called with one argument more, which takes what they give: as a value it is lost in regorus."""

FORBIDDEN: Final[dict[str, str]] = {
    "http.send": "a rule decides on its input, not on what a server says meanwhile",
    "opa.runtime": "it shows the engine's environment",
    "trace": "it is no part of a decision",
    "print": "it is no part of a decision",
    "rand.": "a decision must be repeatable",
    "uuid.": "a decision must be repeatable",
    "time.now_ns": "a decision must be repeatable: use input.now",
    "net.lookup_ip_addr": "a rule decides on its input, not on what a resolver says meanwhile",
    "io.jwt.": "tokens are verified before the policy is asked",
    "internal.": "it is an engine's own",
    "rego.": "it shows the engine's own view of the bundle",
}
"""Name, or prefix that ends in a dot -> why no bundle may call it."""

DIFFERENT: Final[dict[str, str]] = {
    "glob.quote_meta": "'?' is quoted by one engine only",
    "json.filter": "a leading '/' matches in one engine only",
    "json.marshal": "'<' is escaped by one engine only",
    "json.marshal_with_options": "'<' is escaped by one engine only",
    "json.match_schema": "the engines implement different drafts",
    "json.remove": "a leading '/' matches in one engine only",
    "json.verify_schema": "the engines implement different drafts",
    "object.subset": "operands of the wrong kind are an error in one engine only",
    "regex.split": "empty matches differ",
    "regex.template_match": "the engines anchor differently",
    "semver.compare": "the engines accept different versions",
    "semver.is_valid": "the engines accept different versions",
    "strings.count": "overlaps are counted by one engine only",
    "strings.replace_n": "replacements are replaced again by one engine only",
    "time.add_date": "the end of a month is counted on in one engine only",
    "time.format": "the engines write fractions and zones differently",
    "units.parse": "the engines accept different units",
    "units.parse_bytes": "the engines accept different units",
    "urlquery.decode": "a broken escape is an error in one engine only",
    "urlquery.decode_object": "a broken escape is an error in one engine only",
    "urlquery.encode": "'~' and '*' are escaped by one engine only",
    "urlquery.encode_object": "'~' and '*' are escaped by one engine only",
    "yaml.is_valid": "the engines read different YAML",
    "yaml.marshal": "the engines write different YAML",
    "yaml.unmarshal": "the engines read different YAML",
}
"""Builtins that both engines have and answer differently, as measured on ordinary values."""

PATTERN_ARGUMENT: Final[dict[str, int]] = {
    "glob.match": 0,
    "regex.match": 0,
    "regex.is_valid": 0,
    "regex.find_n": 0,
    "regex.find_all_string_submatch_n": 0,
    "regex.replace": 1,
}
"""Builtin -> which of its arguments is a regular expression or a glob."""

NEEDLE_ARGUMENT: Final[dict[str, int]] = {"indexof": 1, "indexof_n": 1}
"""Builtin -> which of its arguments may not be empty: OPA fails on it, and regorus finds it."""

OWN_NAMES: Final[frozenset[str]] = frozenset(
    name.split(".")[0]
    for name in (*IMPLEMENTED, *FORBIDDEN, *DIFFERENT, "crypto.", "graphql.", "providers.", "uri.", "cast_array")
)
"""First names of builtins. A rule or an import by such a name would shadow them, in one engine or in both."""


def refusal(name: str) -> str | None:
    """Why a bundle may not call the builtin ``name``, or ``None`` where it may."""
    for forbidden, why in FORBIDDEN.items():
        if name == forbidden or (forbidden.endswith(".") and name.startswith(forbidden)):
            return f"{name} is forbidden: {why}"
    if name in DIFFERENT:
        return f"{name} is refused: OPA and the embedded engine answer differently ({DIFFERENT[name]})"
    if name not in IMPLEMENTED:
        return f"{name} is neither a function of this bundle nor a builtin that every engine has"
    return None
