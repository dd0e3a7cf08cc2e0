"""Where the gateway's keys and the data root lie, as the settings say. Blocking."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, Table, inspect, make_url, select
from sqlalchemy.exc import SQLAlchemyError

from audit import history
from audit.database import make_engine, unusable
from audit.tables import payloads
from gateway.keyring import services as key_services
from gateway.settings import Settings
from gateway.store.tables import metadata, secrets, signing_keys
from keys.errors import KeyStoreAway, KeyUnavailable
from keys.stores import KeyStore
from keys.stores.database import DatabaseKeyStore, Rows
from keys.stores.file import FileKeyStore, Files
from keys.stores.root import DataRoot, Derives, make_root
from keys.stores.root import open_root as open_file
from keys.stores.sealed import Revoked, SealedKeyStore, nothing_known

_UNDER_A_ROOT: Final[tuple[Table, ...]] = (
    signing_keys,
    secrets,
    *(table for table in metadata.tables.values() if "mac" in table.c),
    payloads,
)


class Revocations:
    """What the log knows of revoked keys; ``keys.stores.sealed.Revoked``. It is silent before there is a log to ask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listening = False

    def listen(self) -> None:
        """From now on the log's tables are there."""
        self._listening = True

    def __call__(self) -> Collection[tuple[str, str]]:
        """Purpose and kid of each. Raises ``KeyUnavailable`` where the log cannot be read."""
        if not self._listening:
            return ()
        try:
            with self._engine.connect() as connection:
                return history.revoked_keys(connection)
        except SQLAlchemyError as exc:
            raise KeyStoreAway(f"the log cannot be asked which keys were revoked: {type(exc).__name__}") from None


def recorded(engine: Engine) -> Revoked:
    """What the log, whose tables are there, knows of revoked keys: for commands that use keys without a gateway."""
    revocations = Revocations(engine)
    revocations.listen()
    return revocations


def is_new(settings: Settings) -> bool:
    """Whether there is no data root and nothing that one sealed, so that the first start makes it."""
    return not settings.root_file.exists() and not any(path.exists() for path in _sealed(settings))


def open_root(settings: Settings, *, make: bool = False) -> DataRoot:
    """What every seal and MAC is derived from.

    Args:
        make: make master key and root where this is a new home. Where anything was sealed before, in files or in
            rows of the database, neither is made: another one opens nothing.

    Raises:
        KeyUnavailable: it cannot be opened or made; SealBroken among them.
        LogUnavailable: it would be made, and the database cannot be asked for rows.
    """
    file = settings.root_file
    if file.exists():
        return open_file(file, key_services.wrappers(settings))
    sealed = next((path for path in _sealed(settings) if path.exists()), None)
    if sealed is not None:
        raise KeyUnavailable(f"{file} is missing, and {sealed} is sealed under it: put it back from where it is kept")
    if not make:
        raise KeyUnavailable(f"there is no data root: {file}")
    held = _held(settings)
    # Looked at again, after the rows: whoever else makes the root has it before any row.
    if held is not None and not file.exists():
        raise KeyUnavailable(
            f"{file} is missing, and {held} holds rows that need it: put it back from where it is kept, or set "
            "HANDRAIL_HOME and keys.root_file to where it lies; only a new database takes a new root"
        )
    return make_root(file, key_services.wrappers(settings, make=True).current)


def open_store(
    settings: Settings, root: Derives, engine: Callable[[], Engine], revoked: Revoked = nothing_known
) -> KeyStore:
    """The store that ``[keys] store`` names.

    Args:
        engine: gives the gateway's database, and is asked only where keys lie there.

    Raises:
        KeyUnavailable: it cannot be used.
    """
    halves = key_services.halves(settings)
    if settings.keys.store == "database":
        return DatabaseKeyStore(engine(), root, halves, revoked)
    return FileKeyStore(settings.home / "keys", root, halves, revoked)


def open_keys(settings: Settings, root: Derives) -> None:
    """Open each key file, as a start does. Raises ``KeyUnavailable`` naming the first that does not open."""
    FileKeyStore(settings.home / "keys", root, key_services.halves(settings)).load()


def carry(settings: Settings, root: Derives, engine: Engine) -> int:
    """Copy every key into the store that is configured from the other one, while no gateway runs. What was copied by a
    run that stopped half-way is passed over.

    Returns:
        How many keys there are now.

    Raises:
        KeyUnavailable: a store cannot be used, there is nothing to copy, or the target holds other keys; SealBroken
            where a key is an older copy than the log knows of.
    """
    files, rows = Files(settings.home / "keys"), Rows(engine)
    source, target = (files, rows) if settings.keys.store == "database" else (rows, files)
    with source.lock(), target.lock():
        # What does not open here would open nowhere, and an older copy would be an older copy there.
        SealedKeyStore(source, root, key_services.halves(settings), recorded(engine)).load()
        documents = source.read_all()
        there = dict(target.read_all())
        strange = sorted(kid for kid in there if there[kid] != dict(documents).get(kid))
        if not documents or strange:
            raise KeyUnavailable(f"{target.place(strange[0])}: holds another key" if strange else "there are no keys")
        for kid, document in documents:
            if kid not in there:
                target.write(kid, document)
    return len(documents)


def copy_rows(settings: Settings, directory: Path) -> None:
    """Write the keys that lie in the database to a new directory, sealed as they are. Raises ``KeyUnavailable``."""
    engine = make_engine(settings.database_url)
    try:
        copy = Files(directory)
        for kid, document in Rows(engine).read_all():
            copy.write(kid, document)
    finally:
        engine.dispose()


def _sealed(settings: Settings) -> list[Path]:
    """Files that nobody could open without the root that sealed them."""
    return [*sorted((settings.home / "keys").glob("*.json")), *sorted(settings.epochs_directory.glob("*.epoch"))]


def _held(settings: Settings) -> str | None:
    """The first table of the database with a row that is sealed, or carries a MAC, under some root."""
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return None
    engine = make_engine(settings.database_url)
    try:
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            for table in _UNDER_A_ROOT:
                if table.name in there and connection.execute(select(1).select_from(table).limit(1)).first():
                    return f"the table {table.name} of {url.render_as_string(hide_password=True)}"
    except SQLAlchemyError as exc:
        raise unusable(settings.database_url, exc) from None
    finally:
        engine.dispose()
    return None
