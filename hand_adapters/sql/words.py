"""The closed lists: which parts a statement may be made of, which types and which functions it may name.

A function is on a list here only if it touches no table, no file, no setting and nothing outside of its arguments.
Functions that an operator adds are the operator's word.
"""

from collections.abc import Mapping
from typing import Final

from sqlglot import exp


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARTS: Final[frozenset[type[exp.Expr]]] = frozenset(
    {
        exp.Alias, exp.All, exp.Any, exp.Array, exp.Between, exp.Boolean, exp.Bracket, exp.CTE, exp.Collate, exp.Column,
        exp.DataType, exp.DataTypeParam, exp.Delete, exp.Distinct, exp.Dot, exp.Escape, exp.Except, exp.Filter,
        exp.From, exp.Glob, exp.Group, exp.Having, exp.HexString, exp.Identifier, exp.ILike, exp.In, exp.Insert,
        exp.Intersect, exp.Interval, exp.Is, exp.JSONPath, exp.JSONPathKey, exp.JSONPathRoot, exp.JSONPathSubscript,
        exp.Join, exp.Lateral, exp.Like, exp.Limit, exp.Literal, exp.Not, exp.Null, exp.Offset, exp.OnConflict,
        exp.Order, exp.Ordered, exp.Paren, exp.Placeholder, exp.Returning, exp.Schema, exp.Select, exp.Star,
        exp.Subquery, exp.Table, exp.TableAlias, exp.Tuple, exp.Union, exp.Update, exp.Values, exp.Var, exp.Where,
        exp.Window, exp.WindowSpec, exp.With, exp.WithinGroup, exp.AtTimeZone, exp.Neg, exp.If, exp.DPipe,
        exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
        exp.NullSafeEQ, exp.NullSafeNEQ, exp.And, exp.Or, exp.Xor, exp.RegexpLike, exp.RegexpILike,
    }
)  # fmt: skip
"""Classes of sqlglot's tree, exactly; functions (``exp.Func``) are held against the names that are sent."""

ARGUMENTS: Final[Mapping[type[exp.Expr], frozenset[str]]] = {
    exp.Select: _words("with_ expressions distinct from_ laterals joins where group having windows order limit offset"),
    exp.Union: _words("with_ this expression distinct order limit offset"),
    exp.Insert: _words("with_ this expression conflict returning"),
    exp.Update: _words("with_ this expressions from_ where returning"),
    exp.Delete: _words("with_ this using where returning"),
    exp.Table: _words("this alias db joins ordinality"),
    exp.With: _words("expressions recursive"),
    exp.CTE: _words("this alias materialized"),
    exp.Join: _words("this on side kind using method"),
    exp.OnConflict: _words("duplicate expressions action conflict_keys where"),
    exp.Returning: frozenset({"expressions"}),
    exp.Limit: frozenset({"expression"}),
    exp.Column: _words("this table"),
    exp.Subquery: _words("this alias with_ order limit offset joins"),
    exp.Lateral: _words("this alias ordinality"),
    exp.Values: _words("expressions alias"),
    exp.Cast: _words("this to"),
    exp.Anonymous: _words("this expressions"),
    exp.Placeholder: frozenset({"this"}),
}
"""What else than nothing these parts may have set; :data:`PARTS` says nothing of flags that are not parts."""
SET_OPERATIONS: Final = (exp.Union, exp.Except, exp.Intersect)

TYPES: Final = _words("""
    bigint binary bit blob bool boolean bytea char character clob date datetime decimal double double_precision float
    int integer interval json jsonb nchar numeric real signed smallint text time timestamp timestamptz timetz tinyint
    unsigned uuid varbinary varchar""")
"""Names of types as they are sent, in small letters."""

STRUCTURE: Final = _words("""
    all and any array as between by case cast conflict distinct else end except exists filter from group having if
    ilike in insert intersect into is join lateral like limit not offset on or order over partition recursive returning
    row select set some then union update using values when where with xor div glob escape materialized""")
"""Words before a bracket that are no function."""

_COMMON: Final = """abs ceil ceiling coalesce concat concat_ws count current_date current_time current_timestamp exp
    floor greatest hex instr least length ln log lower ltrim max md5 min mod nullif pow power replace round rtrim sign
    sqrt substr substring sum trim upper avg row_number rank dense_rank percent_rank cume_dist ntile lag lead
    first_value last_value nth_value"""
_POSTGRESQL: Final = """age array_agg array_length array_position array_to_string ascii bit_length bool_and bool_or
    btrim cardinality char_length character_length chr corr covar_pop covar_samp date_part date_trunc decode degrees
    encode every extract gen_random_uuid generate_series initcap json_agg json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text json_extract_path
    json_extract_path_text json_object_agg json_object_keys json_typeof jsonb_agg jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_object_agg jsonb_object_keys jsonb_typeof justify_days left
    lpad make_date make_interval make_timestamp mode now octet_length overlay percentile_cont percentile_disc
    pi position radians random regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regr_slope reverse right row_to_json rpad split_part starts_with stddev stddev_pop stddev_samp string_agg
    string_to_array strpos to_char to_date to_json to_jsonb to_number to_timestamp translate trunc unnest var_pop
    var_samp variance width_bucket"""
_MARIADB: Final = """adddate ascii bit_and bit_or bit_xor char_length conv convert_tz crc32 curdate curtime date
    date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear elt extract field find_in_set
    format from_unixtime greatest group_concat hour ifnull json_arrayagg json_contains json_extract json_length
    json_object json_objectagg json_array json_unquote json_value last_day left locate lpad microsecond minute month
    monthname now position quarter rand regexp_replace regexp_substr reverse right rpad second sha1 sha2 std stddev
    stddev_pop stddev_samp str_to_date strcmp subdate substring_index timestampdiff to_days truncate unhex
    unix_timestamp utc_date utc_timestamp uuid var_pop var_samp variance week weekday year"""
_SQLITE: Final = """char date datetime group_concat ifnull iif json json_array json_array_length json_each json_extract
    json_group_array json_group_object json_object json_quote json_tree json_type json_valid julianday likelihood
    likely printf format quote random randomblob strftime string_agg time timediff total typeof unicode unixepoch
    unlikely zeroblob"""
FUNCTIONS: Final[Mapping[str, frozenset[str]]] = {
    "postgresql": _words(_COMMON + " " + _POSTGRESQL),
    "mariadb": _words(_COMMON + " " + _MARIADB),
    "sqlite": _words(_COMMON + " " + _SQLITE),
}
READERS: Final[Mapping[str, str]] = {"postgresql": "postgres", "mariadb": "mysql", "sqlite": "sqlite"}
"""Dialect of the settings -> sqlglot's name of it."""
