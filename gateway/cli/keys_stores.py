"""``handrail keys rewrap`` and ``keys carry``: the gateway's own files and database, without a gateway."""

import asyncio
import os

from audit.database import make_engine
from gateway import key_stores
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.retention_log import appended
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append
from gateway.settings import load
from keys.stores.master import PREVIOUS
from keys.stores.root import DataRoot
from keys.stores.root import rewrap as wrap_anew

app = group()


@command(
    app,
    example="keys rewrap",
    good="the root is wrapped under the master key",
    negative="the log could not be told of it",
)
def rewrap(out: Output, config: Config = None) -> Exit:
    """Wrap the data root under the master key of the configuration, opening it with the one before."""
    settings = load(config)
    if not settings.root_file.is_file():
        raise Stop(f"{settings.root_file}: there is no data root", "Set HANDRAIL_HOME to the gateway's own.")
    masters = key_stores.masters(settings, make=_previous_is_given(settings.keys.master_key_previous_file))
    root = wrap_anew(settings.root_file, masters)
    if root is None:
        document = {"root": str(settings.root_file), "rewrapped": False}
        out.show(document, lambda: out.line("The master key opens the data root already; nothing was changed."))
        return Exit.GOOD
    index = None
    try:
        (index,) = asyncio.run(appended(settings, Append([_entry(root)])))
    except (HandrailError, Stop) as error:
        said = error.detail if isinstance(error, HandrailError) else error.text
        hint = f"Only the entry is missing; the old master key opens nothing any more, so take {PREVIOUS} away."
        raise Stop(f"The root is wrapped anew, but not on record: {said}", hint, Exit.NEGATIVE) from None
    document = {"root": str(settings.root_file), "rewrapped": True, "generation": root.generation, "index": index}
    out.show(
        document,
        lambda: out.line(f"The root is wrapped under the new master key (entry {index}). Destroy the old one."),
    )
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
    out.show({"store": store, "keys": count}, lambda: out.line(f"{count} keys are in the {store} now."))


def _previous_is_given(file: object) -> bool:
    """Whether the old master key is there to open the root with; without it a new one is not made."""
    return file is not None or PREVIOUS in os.environ


def _entry(root: DataRoot) -> EntryDraft:
    facts: dict[str, str | int] = {"purpose": "master", "root": root.id, "generation": root.generation}
    return EntryDraft(EntryType.KEY_ROTATED, DEFAULT_TENANT, facts=facts)
