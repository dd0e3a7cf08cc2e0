"""Which controls of which catalogue an entry type is evidence for: data in ``policies/controls``, not code.

One YAML file per catalogue. It maps every entry type's code to a list of control identifiers, or to ``{none: "why"}``
where the type is evidence for nothing in that catalogue.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

try:  # the same in C, where PyYAML was built with it: ten times as fast, and every gateway waits for it at its start
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

from audit.errors import ControlsInvalid
from gateway.entries import EntryType

DEFAULT_DIRECTORY: Final = Path(__file__).resolve().parent.parent / "policies" / "controls"
"""Beside this package, in a checkout and in an installation alike."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The loaded mapping.

    Attributes:
        ids: entry type -> ``catalogue:identifier``, sorted.
        why_none: catalogue -> entry type -> why it maps to nothing there.
    """

    ids: Mapping[EntryType, tuple[str, ...]]
    why_none: Mapping[str, Mapping[EntryType, str]]


@functools.cache
def shipped() -> Controls:
    """The mapping of :data:`DEFAULT_DIRECTORY`, read once for a process: a gateway's log, its exports and its reports
    name the same controls.

    Raises:
        ControlsInvalid: as :func:`load`.
    """
    return load(DEFAULT_DIRECTORY)


def load(directory: Path) -> Controls:
    """Read every ``*.yaml`` of ``directory``.

    Raises:
        ControlsInvalid: no file, an unreadable one, an unknown code, an unmapped type, or a type without a reason.
    """
    files = sorted(directory.glob("*.yaml"))
    if not files:
        raise ControlsInvalid(f"{directory}: no control mapping")
    ids: dict[EntryType, list[str]] = {entry_type: [] for entry_type in EntryType}
    why_none: dict[str, dict[EntryType, str]] = {}
    for file in files:
        why_none[file.stem] = {}
        for code, mapped in _read(file).items():
            entry_type = _type(file, code)
            if isinstance(mapped, list) and mapped and all(_identifier(item) for item in mapped):
                ids[entry_type].extend(f"{file.stem}:{item}" for item in mapped)
            elif isinstance(mapped, dict) and set(mapped) == {"none"} and isinstance(mapped["none"], str):
                if not mapped["none"].strip():
                    raise ControlsInvalid(f"{file.name}: {code} maps to nothing and does not say why")
                why_none[file.stem][entry_type] = mapped["none"]
            else:
                raise ControlsInvalid(f"{file.name}: {code} is neither a list of identifiers nor {{none: why}}")
    return Controls({entry_type: tuple(sorted(found)) for entry_type, found in ids.items()}, why_none)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ControlsInvalid(f"{file.name}: {type(exc).__name__}") from None
    if not isinstance(document, dict) or not isinstance(document.get("entries"), dict):
        raise ControlsInvalid(f"{file.name}: needs a table 'entries'")
    mapping: dict[str, Any] = document["entries"]
    missing = sorted(str(entry_type) for entry_type in EntryType if str(entry_type) not in mapping)
    if missing:
        raise ControlsInvalid(f"{file.name}: says nothing of {', '.join(missing)}")
    return mapping


def _type(file: Path, code: str) -> EntryType:
    try:
        return EntryType(code)
    except ValueError:
        raise ControlsInvalid(f"{file.name}: {code!r} is no entry type") from None


def _identifier(item: object) -> bool:
    """Printable ASCII without spaces and quotes, so that its JSON form is itself, in every writer."""
    return (
        isinstance(item, str) and item != "" and item.isascii() and item.isprintable() and not set(item) & set(' "\\')
    )
