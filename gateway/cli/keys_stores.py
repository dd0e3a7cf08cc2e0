"""``handrail keys rewrap`` and ``keys carry``: the gateway's own files and database, without a gateway."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from audit.database import make_engine
from audit.history import newest_wrapping
from audit.reader import Reader
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output, counted, how_often
from gateway.cli.retention_log import appended, reading
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.keyring import services as key_services
from gateway.keyring import stores as key_stores
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append
from gateway.settings import Settings, load
from keys.stores.master import MasterKey
from keys.stores.root import DataRoot, open_root
from keys.stores.root import rewrap as wrap_anew

app = group()


@command(
    app,
    example="keys rewrap",
    good="the root is wrapped as the configuration says, and that is on record",
    negative="it is not on record, or the root is in an older wrapping than the log says",
)
def rewrap(out: Output, config: Config = None) -> Exit:
    """Wrap the data root under the configuration's master key, or key of a service, opening it with the one before.

    A change that an earlier run did not put on record, because it was stopped, is put on record now.
    """
    settings = load(config)
    if not settings.root_file.is_file():
        raise Stop(f"{settings.root_file}: there is no data root", "Set HANDRAIL_HOME to the gateway's own.")
    wrappers = key_services.wrappers(settings, make=key_services.previous_is_given(settings))
    again = wrap_anew(settings.root_file, wrappers)
    root = again or open_root(settings.root_file, wrappers)
    place, index = wrappers.current.place, None
    if again is not None or _is_missing(settings, root, place):
        with _told(place, "Mend that and run it again. What wrapped it before opens it no more."):
            (index,) = asyncio.run(appended(settings, Append([_entry(root, wrappers.current.kind)])))
    document = {
        "root": str(settings.root_file),
        "by": wrappers.current.kind,
        "rewrapped": again is not None,
        "generation": root.generation,
        "index": index,
    }
    out.show(document, lambda: out.line(_done(place, index, rewrapped=again is not None)))
    return Exit.GOOD


@command(app, example="keys carry", good="every key is in the configured store")
def carry(out: Output, config: Config = None) -> None:
    """Copy the gateway's keys from the other store into the one that [keys] store names, while no gateway runs."""
    settings = load(config)
    root = key_stores.open_root(settings)
    engine = make_engine(settings.database_url)
    try:
        count = key_stores.carry(settings, root, engine)
    finally:
        engine.dispose()
    store = settings.keys.store
    out.show(
        {"store": store, "keys": count}, lambda: out.line(f"{counted(count, 'key is', 'keys are')} in the {store} now.")
    )


def _is_missing(settings: Settings, root: DataRoot, place: str) -> bool:
    """Whether the log does not know of this wrapping of the root. Raises ``Stop`` where it knows of a newer one."""
    with _told(place, "Nothing was changed. Mend that and run it again."):
        recorded = reading(settings, lambda reader: _recorded(reader, root.id))
    if recorded > root.generation:
        text = f"{settings.root_file}: an older copy, wrapped {how_often(root.generation)}; the log says {recorded}"
        raise Stop(text, "Put the newest root.key back, and give the key that wraps it.", Exit.NEGATIVE)
    return recorded < root.generation


def _recorded(reader: Reader, root: str) -> int:
    """How often the root was wrapped, as the log says; making it was the first time, and is not on record."""
    with reader.connect() as connection:
        return newest_wrapping(connection, root) or 1


@contextmanager
def _told(place: str, hint: str) -> Iterator[None]:
    """Say of a failure in here that the log is what could not be told, or asked."""
    try:
        yield
    except (HandrailError, Stop) as error:
        said = error.detail if isinstance(error, HandrailError) else error.text
        text = f"{_upper(place)} opens the root, but that is not on record, or not known to be: {said}"
        raise Stop(text, hint, Exit.NEGATIVE) from None


def _done(place: str, index: int | None, *, rewrapped: bool) -> str:
    opens = f"{_upper(place)} opens the data root already"
    if rewrapped:
        new = f"{place} now" if place != MasterKey.place else "the new master key"
        return f"The root is wrapped under {new} (entry {index}). Destroy the old one."
    if index is not None:
        return f"{opens}; that change was not on record, and is now (entry {index})."
    return f"{opens}; nothing was changed."


def _upper(place: str) -> str:
    return place[0].upper() + place[1:]


def _entry(root: DataRoot, by: str) -> EntryDraft:
    facts: dict[str, str | int] = {"purpose": "master", "root": root.id, "generation": root.generation, "by": by}
    return EntryDraft(EntryType.KEY_ROTATED, DEFAULT_TENANT, facts=facts)
