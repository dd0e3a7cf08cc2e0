"""Write the JSON Schemas beside this file anew: ``python tests/audit/export/ocsf/compile.py``.

It needs ocsf-json-schema 1.2.0, which holds the published export of the OCSF schema 1.8.0 and turns its classes into
JSON Schema, constraints and closed enumerations with them.
"""

import json
from pathlib import Path
from typing import Any

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-not-found]

VERSION = "1.8.0"
CLASSES = {
    "api_activity": ["ai_operation"],
    "authentication": [],
    "authorize_session": [],
    "entity_management": [],
    "network_activity": [],
}


def plain(value: Any) -> Any:
    """Without captions, which say nothing to a validator."""
    if isinstance(value, dict):
        kept = {name: member for name, member in value.items() if not (name == "title" and isinstance(member, str))}
        return {name: plain(member) for name, member in kept.items()}
    return [plain(member) for member in value] if isinstance(value, list) else value


if __name__ == "__main__":
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    for name, profiles in CLASSES.items():
        file = Path(__file__).with_name(f"{name}.json")
        file.write_text(json.dumps(plain(schemas.get_class_schema(name, profiles)), sort_keys=True) + "\n")
