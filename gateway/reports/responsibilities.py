"""Who answers for what: the provider of the brain, the operator of the gateway, the operator of a hand."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from audit.assurance.catalogue import Area, Catalogue
from gateway.reports.document import Cell, Document, Section, Table

_COLUMNS: Final = ("area", "provider of the brain", "operator of the gateway", "operator of a hand", "controls")


def responsibilities(areas: Sequence[Area], catalogues: Sequence[Catalogue]) -> dict[str, Any]:
    """The matrix as a JSON document."""
    return {
        "v": 1,
        "frameworks": {str(one.framework): one.title for one in catalogues},
        "areas": [
            {
                "id": area.id,
                "title": area.title,
                "brain": area.brain,
                "gateway": area.gateway,
                "hand": area.hand,
                "controls": {
                    str(one.framework): [control.id for control in one.controls if control.area == area]
                    for one in catalogues
                },
            }
            for area in areas
        ],
    }


def responsibility_matrix(found: Mapping[str, Any]) -> Document:
    """The report on :func:`responsibilities`."""
    rows: list[tuple[Cell, ...]] = [
        (one["title"], one["brain"], one["gateway"], one["hand"], _controls(one["controls"])) for one in found["areas"]
    ]
    table = Table(_COLUMNS, rows)
    return Document(
        title="Shared responsibilities",
        facts=(("frameworks", ", ".join(found["frameworks"].values())),),
        texts=("Who can act in each area. What the parties owe each other is for their contracts to say.",),
        sections=(Section(title="Matrix", tables=(table,)),),
        flat=table,
    )


def _controls(controls: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{framework} {', '.join(ids)}" for framework, ids in controls.items() if ids)
