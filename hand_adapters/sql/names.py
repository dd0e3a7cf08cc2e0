"""Which names of a statement are tables, and which are queries of its WITH; every table gets its schema.

A name may mean one thing only. Where databases read a statement differently (a query that names itself without
RECURSIVE, or one that comes later), it is refused, so that nothing can be taken for a query that is a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from hand_adapters.sql.problems import NotTaken, Problem


@dataclass(frozen=True, slots=True)
class _Cte:
    name: str
    index: int
    node: exp.CTE
    block: exp.With


def qualify(tree: exp.Expr, schemas: Sequence[str], *, catalogue: bool = False) -> Mapping[int, str]:
    """Give every table in ``tree`` its schema, in place.

    Args:
        catalogue: take the tables, too, that SQLite keeps about itself.

    Returns:
        ``id`` of each table's node -> ``schema.table``; a query of WITH is not among them.

    Raises:
        NotTaken: a schema that is not among ``schemas``, or a name that could mean two things.
    """
    queries = _ctes(tree)
    bases: dict[int, str] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function
        name, schema = table.name, table.args.get("db")
        if schema is None:
            query = queries.get(name.casefold())
            if query is not None:
                _check_seen(table, name, query)
                continue
            table.set("db", exp.to_identifier(schemas[0], quoted=True))
        elif schema.name not in schemas:
            raise NotTaken(Problem.SCHEMA)
        if name.casefold().startswith("sqlite_") and not catalogue:
            raise NotTaken(Problem.SCHEMA)
        bases[id(table)] = f"{schemas[0] if schema is None else schema.name}.{name}"
    return bases


def _ctes(tree: exp.Expr) -> dict[str, _Cte]:
    found: dict[str, _Cte] = {}
    for block in tree.find_all(exp.With):
        for index, node in enumerate(block.expressions):
            key = node.alias.casefold()
            if not key or key in found:
                raise NotTaken(Problem.NAME)
            found[key] = _Cte(node.alias, index, node, block)
    return found


def _check_seen(table: exp.Table, name: str, query: _Cte) -> None:
    """The table's name is that of ``query``, and every database takes it for that query where it stands."""
    parents = list(_parents(table))
    writes = isinstance(table.parent, exp.Insert | exp.Update | exp.Delete | exp.Schema) and table.arg_key == "this"
    owner = query.block.parent
    if name != query.name or writes or not any(one is owner for one in parents):
        raise NotTaken(Problem.NAME)
    if not any(one is query.block for one in parents):
        return
    inside = next(one for one in parents if isinstance(one, exp.CTE) and one.parent is query.block)
    at = next(index for index, one in enumerate(query.block.expressions) if one is inside)
    itself = at == query.index and bool(query.block.args.get("recursive"))
    if not (at > query.index or itself):
        raise NotTaken(Problem.NAME)


def _parents(node: exp.Expr) -> "list[exp.Expr]":
    found = []
    parent = node.parent
    while parent is not None:
        found.append(parent)
        parent = parent.parent
    return found
