"""Catalogues of controls with what is expected of their evidence: data in ``policies/controls``, checked when read.

A catalogue file maps entry types to controls (``audit.controls`` reads that part for every entry that is written) and
describes each control; ``common`` holds what the catalogues share.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import yaml

from audit.controls import DEFAULT_DIRECTORY
from audit.errors import ControlsInvalid
from gateway.entries import EntryType

COMMON: Final = ("expectations", "areas")
"""Files of ``common``; each holds the table of its own name."""


class Framework(StrEnum):
    """A catalogue, as the command line and the API name it."""

    GDPR = "gdpr"
    SOC2 = "soc2"
    AI_ACT = "ai-act"
    CCPA = "ccpa"
    ISO27001 = "iso27001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What evidence is expected over time.

    Attributes:
        entries: any of these counts.
        every_days: at no moment of a period is the newest of them older; ``None`` where :attr:`at_least` counts.
        ever: :attr:`at_least` counts from the beginning of the log, not of the period.
        when: expected only where one of these lies in the period; empty for always.
        gateway: the entries are the gateway's own, and stand in the tenant of its operator.
    """

    id: str
    title: str
    entries: tuple[EntryType, ...]
    remedy: str
    every_days: int | None = None
    at_least: int = 1
    ever: bool = False
    when: tuple[EntryType, ...] = ()
    gateway: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What controls are about, and who answers for it."""

    id: str
    title: str
    brain: str
    gateway: str
    hand: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control of a catalogue.

    Attributes:
        id: the catalogue's own identifier, such as ``5(1)(f)``.
        title: what it is about, in our words.
        entries: types that are evidence for it.
        posture: checks of the running configuration that belong to it.
    """

    id: str
    title: str
    area: Area
    entries: tuple[EntryType, ...]
    expects: tuple[Expectation, ...]
    posture: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A framework's controls. ``id`` is the prefix that entries carry."""

    id: str
    framework: Framework
    title: str
    source: str
    controls: tuple[Control, ...]


@functools.cache
def catalogues(directory: Path = DEFAULT_DIRECTORY) -> Mapping[Framework, Catalogue]:
    """Every catalogue of ``directory``.

    Raises:
        ControlsInvalid: a file that its schema refuses, a name that nothing has, an entry type that maps to a control
            without a description, a control that no entry type maps to, or a framework without a catalogue.
    """
    shared = _validated(directory / "common.schema.json", *(directory / "common" / f"{name}.yaml" for name in COMMON))
    areas = {name: Area(id=name, **about) for name, about in shared["areas"].items()}
    expectations = {name: _expectation(name, about) for name, about in shared["expectations"].items()}
    found: dict[Framework, Catalogue] = {}
    for file in sorted(directory.glob("*.yaml")):
        one = _catalogue(file, _validated(directory / "catalogue.schema.json", file), areas, expectations)
        found[one.framework] = one
    missing = sorted(set(Framework) - set(found))
    if missing:
        raise ControlsInvalid(f"{directory}: no catalogue for {', '.join(missing)}")
    return found


def areas(directory: Path = DEFAULT_DIRECTORY) -> tuple[Area, ...]:
    """What controls are about, by title, in the order of the file. Raises ``ControlsInvalid``."""
    shared = _validated(directory / "common.schema.json", *(directory / "common" / f"{name}.yaml" for name in COMMON))
    return tuple(Area(id=name, **about) for name, about in shared["areas"].items())


def _catalogue(
    file: Path, document: Mapping[str, Any], areas_: Mapping[str, Area], expectations: Mapping[str, Expectation]
) -> Catalogue:
    if document["catalogue"] != file.stem:
        raise ControlsInvalid(f"{file.name}: says that it is {document['catalogue']}")
    evidence: dict[str, list[EntryType]] = {}
    for code, mapped in document["entries"].items():
        for control in mapped if isinstance(mapped, list) else ():
            evidence.setdefault(control, []).append(_type(file, code))
    described = document["controls"]
    nameless, unused = sorted(evidence.keys() - described.keys()), sorted(described.keys() - evidence.keys())
    if nameless or unused:
        what = f"{nameless} have no title" if nameless else f"no entry is evidence for {unused}"
        raise ControlsInvalid(f"{file.name}: {what}")
    try:
        controls = tuple(
            Control(
                id=control,
                title=about["title"],
                area=areas_[about["area"]],
                entries=tuple(evidence[control]),
                expects=tuple(expectations[name] for name in about.get("expects", ())),
                posture=tuple(about.get("posture", ())),
            )
            for control, about in described.items()
        )
        framework = Framework(document["framework"])
    except (KeyError, ValueError) as exc:
        raise ControlsInvalid(f"{file.name}: nothing is named {exc.args[0]}") from None
    return Catalogue(
        id=file.stem, framework=framework, title=document["title"], source=document["source"], controls=controls
    )


def _expectation(name: str, about: Mapping[str, Any]) -> Expectation:
    place = Path("expectations.yaml")
    codes = {member: tuple(_type(place, code) for code in about.get(member, ())) for member in ("entries", "when")}
    return Expectation(id=name, **{**about, **codes})


def _type(file: Path, code: str) -> EntryType:
    try:
        return EntryType(code)
    except ValueError:
        raise ControlsInvalid(f"{file.name}: {code!r} is no entry type") from None


def _validated(schema: Path, *files: Path) -> dict[str, Any]:
    """The tables of ``files`` together, as ``schema`` wants them."""
    document: dict[str, Any] = {}
    names = ", ".join(file.name for file in files)
    try:
        for file in files:
            loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
            if not isinstance(loaded, dict):
                raise ControlsInvalid(f"{file.name}: not a table")
            document |= loaded
        validator = jsonschema_rs.Draft202012Validator(json.loads(schema.read_bytes()), offline=True)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise ControlsInvalid(f"{names}: {type(exc).__name__}") from None
    problem = next(validator.iter_errors(document), None)
    if problem is not None:
        place = "/".join(map(str, problem.instance_path))
        raise ControlsInvalid(f"{names}: {place}: {problem.message}")
    return document
