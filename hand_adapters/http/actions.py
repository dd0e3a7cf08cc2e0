"""The actions of an http hand: those that the operator declared, and those of the OpenAPI document that it names."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest, SideEffects
from gateway.settings import ActionSettings, HandSettings, PaginationSettings, SettingsError
from hand_adapters import annotate, reach
from hand_adapters.http import pages
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.offers import Offer, offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.http.openapi.security import Scheme, requirements, unmet
from hand_adapters.http.openapi.selection import select
from hand_adapters.http.template import RequestTemplate, Template
from hand_adapters.schemas import SchemaError

NOTES_MAX: Final = 20
"""Sentences about a document that an operator is shown at once."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action, and how it is sent."""

    manifest: ActionManifest
    template: RequestTemplate
    paging: PaginationSettings | None


@dataclass(frozen=True, slots=True)
class Actions:
    """All actions of a hand, its manifest, and sentences about what was left out."""

    by_name: Mapping[str, Action]
    manifest: Manifest
    notes: tuple[str, ...]


def build(hand_id: str, settings: HandSettings) -> Actions:
    """Every action of a hand. Reads the document, and asks nobody.

    Raises:
        SettingsError: a declaration that cannot be used, or a document of which nothing can.
    """
    declared = {name: action for name, action in settings.actions.items() if action.path is not None}
    found = {name: _declared(hand_id, settings, name, action) for name, action in declared.items()}
    notes: list[str] = []
    if settings.openapi is not None:
        try:
            found.update(_described(hand_id, settings, settings.openapi, notes, taken=declared.keys()))
        except DocumentError as exc:
            raise SettingsError(f"hands.{hand_id}.openapi: {settings.openapi}: {exc.detail}") from None
    for name, action in found.items():
        _check_paging(f"hands.{hand_id}.actions.{name}.pagination", action)
    unknown = sorted(set(settings.actions) - found.keys())
    notes[:0] = [f"Action {name} is declared, and the document offers no such operation." for name in unknown]
    try:
        manifest = annotate.manifest(hand_id, settings, (action.manifest for action in found.values()))
    except Refused:
        raise SettingsError(f"hands.{hand_id}: a schema has no canonical JSON form") from None
    more = len(notes) - NOTES_MAX
    return Actions(found, manifest, (*notes[:NOTES_MAX], *([f"And {more} more."] if more > 0 else [])))


def _declared(hand_id: str, settings: HandSettings, name: str, declared: ActionSettings) -> Action:
    template = Template(hand_id, name, settings.base_url or "", declared)
    shown = {"method": declared.method, "path": declared.path, "base_url": settings.base_url}
    try:
        manifest = annotate.action(
            name,
            declared,
            args_schema=declared.args_schema,
            result_schema=_paged(declared, declared.result_schema),
            description=declared.description or "",
            annotations=shown | _paging_shown(declared.pagination),
        )
    except SchemaError as exc:
        raise SettingsError(f"hands.{hand_id}.actions.{name}: schema {exc.detail}") from None
    return Action(manifest, template, declared.pagination)


def _described(
    hand_id: str, settings: HandSettings, file: Path, notes: list[str], *, taken: Collection[str]
) -> Iterator[tuple[str, Action]]:
    """Actions of the selected operations; what cannot be offered is noted.

    Raises:
        DocumentError: the document cannot be used, or no selected operation can.
        SettingsError: an operation has the name of a declared action, or a secret cannot be used.
    """
    document = Document.load(file)
    slots = [use.slot for use in reach.secret_uses(hand_id, settings)]
    lacking: dict[str, tuple[Scheme, list[str]]] = {}
    offered = 0
    for operation in select(document.operations, settings.operations):
        if operation.name in taken:
            raise SettingsError(f"hands.{hand_id}.actions.{operation.name}: is an operation of the document: rename it")
        try:
            made = offer(document, operation, settings.base_url or "", slots)
            action = _of_offer(settings, made)
        except (DocumentError, SchemaError) as exc:
            notes.append(f"Operation {operation.name} is left out: {exc.detail.removesuffix('.')}.")
            continue
        offered += 1
        notes += made.notes
        for scheme in unmet(requirements(document, operation), slots):
            lacking.setdefault(scheme.name, (scheme, []))[1].append(operation.name)
        yield operation.name, action
    if not offered:
        raise DocumentError("", "no selected operation can be offered", " ".join(notes[:NOTES_MAX]))
    notes[:0] = [_lacking(hand_id, scheme, names) for scheme, names in lacking.values()]


def _of_offer(settings: HandSettings, made: Offer) -> Action:
    name = made.operation.name
    declared = settings.actions.get(name) or ActionSettings()
    result = made.result_schema if declared.result_schema is None else declared.result_schema
    shown = {"method": made.operation.method, "path": made.operation.path, "base_url": settings.base_url}
    manifest = annotate.action(
        name,
        declared,
        args_schema=made.args_schema,
        result_schema=_paged(declared, result),
        description=declared.description if declared.description is not None else made.description,
        title=made.title,
        annotations=shown | {"request": made.written} | _paging_shown(declared.pagination),
    )
    return Action(manifest, made.template, declared.pagination)


def _lacking(hand_id: str, scheme: Scheme, names: list[str]) -> str:
    who = f"{len(names)} operations want" if len(names) > 1 else f"{names[0]} wants"
    if scheme.slot is None:
        return f"{who} {scheme.name}, {scheme.kind}."
    return (
        f"{who} {scheme.kind} ({scheme.name}): name a secret, [hands.{hand_id}.secrets.NAME] {', '.join(scheme.toml)}."
    )


def _check_paging(where: str, action: Action) -> None:
    if action.paging is None:
        return
    if action.template.method != "GET" or action.manifest.side_effects is not SideEffects.NONE:
        raise SettingsError(f'{where}: only a GET whose side_effects are "none" is asked for page after page')


def _paged(declared: ActionSettings, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return schema if declared.pagination is None else pages.result_schema(schema)


def _paging_shown(paging: PaginationSettings | None) -> dict[str, Any]:
    return {} if paging is None else {"pagination": paging.model_dump(mode="json", exclude_none=True)}
