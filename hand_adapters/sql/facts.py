"""What a statement does, for policies: verbs, tables, columns, conditions, functions. A promise, and never too little.

Where it is not sure which table a column is of, it is said to be of each that it could be of.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlglot import exp

from hand_adapters.sql.problems import NotTaken, Problem

_SCOPES: Final = (exp.Select, exp.Insert, exp.Update, exp.Delete)
_TARGET_NAMES: Final = frozenset({"excluded", "old", "new"})
"""What a change calls the rows of its table in RETURNING and ON CONFLICT."""
EVERY: Final = "*"
"""Every column of a table."""
_VALUES: Final = (exp.Literal, exp.Placeholder, exp.Parameter, exp.Null, exp.Boolean)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of rows.

    Attributes:
        where: whether a condition that names a column of the table limits the rows; ``None`` of an INSERT.
        equals: columns of the table that have to equal given values, all of them at once.
        columns: that are written; ``*`` is all.
    """

    verb: str
    table: str
    where: bool | None
    equals: tuple[str, ...]
    columns: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verb": self.verb,
            "table": self.table,
            "where": self.where,
            "equals": list(self.equals),
            "columns": list(self.columns),
        }


@dataclass(frozen=True, slots=True)
class Facts:
    """What a statement does.

    Attributes:
        verbs: ``select``, ``insert``, ``update``, ``delete``, wherever in the statement.
        reads: ``schema.table``.
        columns: ``schema.table.column`` that may be read; ``*`` is all of a table's.
        attributes: those of ``columns`` that are written with a prefix.
        members: names after a dot whose row is none of a table: of a query's, or of a value in brackets.
        where: whether the statement itself has a condition that names a column.
    """

    verbs: tuple[str, ...]
    reads: tuple[str, ...]
    columns: tuple[str, ...]
    attributes: tuple[tuple[str, str, str], ...]
    members: tuple[str, ...]
    changes: tuple[Change, ...]
    functions: tuple[str, ...]
    joins: int
    where: bool

    @property
    def tables(self) -> frozenset[str]:
        """Every table that is read or changed."""
        return frozenset({*self.reads, *(change.table for change in self.changes)})

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verbs": list(self.verbs),
            "reads": list(self.reads),
            "columns": list(self.columns),
            "changes": [change.document() for change in self.changes],
            "functions": list(self.functions),
            "joins": self.joins,
            "where": self.where,
        }


def folded(facts: Facts, dialect: str) -> Facts:
    """The facts with names as the database compares them: SQLite all and MariaDB columns without regard to case.

    MariaDB compares tables as its server is set up; theirs stay as they are sent.
    """
    if dialect == "postgresql":
        return facts

    def table(name: str) -> str:
        return name.lower() if dialect == "sqlite" else name

    def column(name: str) -> str:
        place, _, last = name.rpartition(".")
        return f"{table(place)}.{last.lower()}"

    return replace(
        facts,
        reads=tuple(sorted({table(name) for name in facts.reads})),
        columns=tuple(sorted({column(name) for name in facts.columns})),
        changes=tuple(
            replace(
                change,
                table=table(change.table),
                equals=tuple(sorted({name.lower() for name in change.equals})),
                columns=tuple(sorted({name.lower() for name in change.columns})),
            )
            for change in facts.changes
        ),
    )


def gather(tree: exp.Expr, bases: Mapping[int, str], functions: tuple[str, ...], dialect: str) -> Facts:
    """The facts of a statement whose names are resolved.

    Args:
        bases: from ``names.qualify``.

    Raises:
        NotTaken: a column's prefix is no table of the statement, or two tables' names differ by case alone where the
            database tells them apart.
    """
    sources = _sources(tree, bases, dialect)
    columns: set[tuple[str, str]] = set()
    attributes: set[tuple[str, str]] = set()
    for column in tree.find_all(exp.Column):
        if _is_written(column):
            continue
        found = list(_column(column, sources))
        columns.update(found)
        if column.args.get("table") is not None:
            attributes.update(one for one in found if one[1] != EVERY)
    for star in tree.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count | exp.Column):
            columns.update((table, EVERY) for table in _tables(_nearest(star), sources))
    for join in tree.find_all(exp.Join):
        columns.update(_joined(join, sources))
    for conflict in tree.find_all(exp.OnConflict):
        table = bases[id(_target(_nearest(conflict)))]
        columns.update((table, one.name) for one in conflict.args.get("conflict_keys") or ())
    changes = tuple(change for part in tree.find_all(*_SCOPES[1:]) for change in _changes(part, bases, sources))
    if dialect == "postgresql" and any(_is_written(one) and one.args.get("table") for one in tree.find_all(exp.Column)):
        raise NotTaken(Problem.PART)  # what looks like a prefix is the column, and the name a field of its value
    read = {bases[id(table)] for table in tree.find_all(exp.Table) if id(table) in bases and not _is_target(table)}
    verbs = {"select" for _ in tree.find_all(exp.Select)} | {change.verb for change in changes}
    return Facts(
        verbs=tuple(sorted(verbs)),
        reads=tuple(sorted(read | {table for table, _ in columns})),
        columns=tuple(sorted(f"{table}.{column}" for table, column in columns)),
        attributes=tuple(sorted((*table.split(".", 1), column) for table, column in attributes)),  # type: ignore[misc]
        members=tuple(sorted(_members(tree, sources))),
        changes=changes,
        functions=functions,
        joins=sum(1 for _ in tree.find_all(exp.Join)),
        where=changes[0].where is True if changes else _limits(tree.args.get("where")),
    )


_Sources = Mapping[int, Mapping[str, str | None]]
"""``id`` of a scope's node -> alias or name of each of its sources -> table; ``None`` is no table of the database."""


def _sources(tree: exp.Expr, bases: Mapping[int, str], dialect: str) -> _Sources:
    sources: dict[int, dict[str, str | None]] = {id(scope): {} for scope in tree.find_all(*_SCOPES)}
    spelled: dict[str, str] = {}
    for alias in tree.find_all(exp.TableAlias):
        owner = alias.parent
        if isinstance(owner, exp.CTE) or owner is None:
            continue
        _check_spelled(spelled, alias.name, dialect)
        _put(sources, owner, alias.name, bases.get(id(owner)))
    for table in tree.find_all(exp.Table):
        if not table.alias and isinstance(table.this, exp.Identifier):
            _check_spelled(spelled, table.name, dialect)
            _put(sources, table, table.name, bases.get(id(table)))
    return sources


def _check_spelled(spelled: dict[str, str], name: str, dialect: str) -> None:
    """Names that are looked up as the same are the same to the database, too: a prefix cannot mean another table."""
    known = "".join(map(_small, name)) if dialect == "sqlite" else name
    if spelled.setdefault(name.casefold(), known) != known:
        raise NotTaken(Problem.NAME)


def _small(character: str) -> str:
    return character.lower() if character.isascii() else character


def _put(sources: dict[int, dict[str, str | None]], node: exp.Expr, name: str, table: str | None) -> None:
    scope = _nearest(node)
    if scope is None:
        return
    key = name.casefold()
    known = sources[id(scope)]
    if key in known:
        raise NotTaken(Problem.NAME)
    known[key] = table


def _nearest(node: exp.Expr | None) -> exp.Expr | None:
    """The SELECT, INSERT, UPDATE or DELETE that a part is of."""
    parent = node.parent if node is not None else None
    while parent is not None and not isinstance(parent, _SCOPES):
        parent = parent.parent
    return parent


def _scopes(node: exp.Expr) -> Iterator[exp.Expr]:
    """The scopes whose tables a column can be of, from within."""
    child, parent = node, node.parent
    skipped: exp.Expr | None = None
    while parent is not None:
        if isinstance(child, exp.With):
            skipped = parent  # a query of WITH knows nothing of the FROM beside it
        of_rows = isinstance(parent, exp.Insert) and child.arg_key == "expression"
        if isinstance(parent, _SCOPES) and parent is not skipped and not of_rows:
            yield parent
        child, parent = parent, parent.parent


def _tables(scope: exp.Expr | None, sources: _Sources) -> list[str]:
    return [] if scope is None else [table for table in sources[id(scope)].values() if table is not None]


def _column(column: exp.Column, sources: _Sources) -> Iterator[tuple[str, str]]:
    """What a column may be: (table, column) each."""
    name = EVERY if isinstance(column.this, exp.Star) else column.name
    scopes = list(_scopes(column))
    prefix = column.args.get("table")
    if prefix is not None:
        key = prefix.name.casefold()
        for scope in scopes:
            if key in sources[id(scope)]:
                table = sources[id(scope)][key]
                yield from () if table is None else ((table, name),)
                return
        if key not in _TARGET_NAMES or not isinstance(scopes[0] if scopes else None, _SCOPES[1:]):
            raise NotTaken(Problem.COLUMN)
        yield from ((table, name) for table in _tables(scopes[0], sources))
        return
    for scope in scopes:
        yield from ((table, name) for table in _tables(scope, sources))
        row = sources[id(scope)].get(name.casefold())
        if row is not None:  # a table's name where a column could stand is its whole row
            yield row, EVERY


def _members(tree: exp.Expr, sources: _Sources) -> set[str]:
    """What stands after a dot whose row is no table's."""
    found = {dot.expression.name for dot in tree.find_all(exp.Dot) if isinstance(dot.expression, exp.Identifier)}
    for column in tree.find_all(exp.Column):
        prefix = column.args.get("table")
        if prefix is None or isinstance(column.this, exp.Star):
            continue
        of = next((one for scope in _scopes(column) if prefix.name.casefold() in (one := sources[id(scope)])), {})
        if of.get(prefix.name.casefold()) is None:
            found.add(column.name)
    return found


def _joined(join: exp.Join, sources: _Sources) -> Iterator[tuple[str, str]]:
    tables = _tables(_nearest(join), sources)
    using = [one.name for one in join.args.get("using") or ()]
    if str(join.args.get("method") or "").upper() == "NATURAL":
        using.append(EVERY)
    for table in tables:
        yield from ((table, name) for name in using)


def _target(change: exp.Expr | None) -> exp.Expr | None:
    this = None if change is None else change.this
    return this.this if isinstance(this, exp.Schema) else this


def _is_target(table: exp.Table) -> bool:
    return isinstance(table.parent, exp.Insert | exp.Update | exp.Delete | exp.Schema) and table.arg_key == "this"


def _assignments(change: exp.Expr) -> list[exp.Expr]:
    conflict = change.args.get("conflict")
    if isinstance(change, exp.Update):
        return list(change.expressions)
    return [] if conflict is None else list(conflict.expressions)


def _left(assignment: exp.Expr) -> list[exp.Expr]:
    return list(assignment.this.expressions) if isinstance(assignment.this, exp.Tuple) else [assignment.this]


def _is_written(column: exp.Column) -> bool:
    """Whether a column stands left in SET: it is written, and not read."""
    part: exp.Expr = column.parent if isinstance(column.parent, exp.Tuple) else column
    assignment = part.parent
    if not isinstance(assignment, exp.EQ) or part.arg_key != "this":
        return False
    owner = assignment.parent
    return isinstance(owner, exp.Update | exp.OnConflict) and assignment.arg_key == "expressions"


def _changes(change: exp.Expr, bases: Mapping[int, str], sources: _Sources) -> Iterator[Change]:
    target = _target(change)
    table = bases[id(target)]
    written = tuple(sorted({column.name for one in _assignments(change) for column in _left(one)}))
    if isinstance(change, exp.Insert):
        named = change.this.expressions if isinstance(change.this, exp.Schema) else ()
        yield Change("insert", table, None, (), tuple(sorted(one.name for one in named)) or (EVERY,))
        conflict = change.args.get("conflict")
        if written and conflict is not None:
            keys = tuple(sorted(one.name for one in conflict.args.get("conflict_keys") or ()))
            yield Change("update", table, True, keys, written)
        return
    where = change.args.get("where")
    verb = "update" if isinstance(change, exp.Update) else "delete"
    limited = where is not None and any(_is_own(one, change, sources) for one in where.find_all(exp.Column))
    yield Change(verb, table, limited, tuple(sorted(_equals(where, change, sources))), written or (EVERY,))


def _limits(where: exp.Expr | None) -> bool:
    return where is not None and where.find(exp.Column) is not None


def _is_own(column: exp.Column, change: exp.Expr, sources: _Sources) -> bool:
    """Whether a column of a condition is one of the table that is changed: by its prefix, or because it can be of no
    other. A condition on the tables beside it limits no rows of this one.
    """
    prefix = column.args.get("table")
    if prefix is None:
        return _nearest(column) is change and len(sources[id(change)]) == 1
    target, key = _target(change), prefix.name.casefold()
    scope = next((one for one in _scopes(column) if key in sources[id(one)]), None)
    return scope is change and isinstance(target, exp.Table) and key == (target.alias or target.name).casefold()


def _is_given(value: exp.Expr) -> bool:
    """Whether it is one value, the same for every row."""
    while isinstance(value, exp.Neg | exp.Cast | exp.Paren):
        value = value.this
    return isinstance(value, _VALUES)


def _equals(where: exp.Expr | None, change: exp.Expr, sources: _Sources) -> set[str]:
    found: set[str] = set()
    parts = [] if where is None else [where.this]
    while parts:
        part = parts.pop()
        if isinstance(part, exp.And):
            parts += [part.this, part.expression]
        elif isinstance(part, exp.Paren):
            parts.append(part.this)
        elif isinstance(part, exp.EQ):
            for one, other in ((part.this, part.expression), (part.expression, part.this)):
                if isinstance(one, exp.Column) and _is_given(other) and _is_own(one, change, sources):
                    found.add(one.name)
    return found
