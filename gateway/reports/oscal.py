"""Evidence by control as OSCAL assessment results (NIST OSCAL 1.2.1, JSON).

A finding says whether what is expected of the evidence is there; a control without an entry and without an expectation
has no finding. Ids of sources are no OSCAL tokens, so ``5(1)(f)`` of ``gdpr`` becomes ``gdpr_5.1.f``; the original
stands in the property ``label``. Equal reports give equal documents: every UUID is derived (RFC 9562, version 5).
"""

import base64
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from gateway.reports.controls import NOTICE, STATES
from gateway.safe import safe

VERSION: Final = "1.2.1"
NAMESPACE: Final = "urn:handrail:controls"
_NO_TOKEN: Final = re.compile(r"[^A-Za-z0-9._-]+")


def oscal(found: Mapping[str, Any]) -> dict[str, Any]:
    """The document of ``GET /v1/controls/report`` as assessment results."""
    ids = _Ids(found)
    assessed = [control for control in found["controls"] if control["status"] != "none"]
    result = {
        "uuid": ids("result"),
        "title": _line(found["title"]),
        "description": f"{NOTICE} Source: {_line(found['source'])}.",
        "start": found["from"],
        "end": found["to"],
        "props": [_prop("log-origin", found["origin"]), _prop("tree-size", str(found["tree_size"]))],
        "reviewed-controls": {
            "control-selections": [
                {"include-controls": [{"control-id": token(found["framework"], c["id"])} for c in found["controls"]]}
            ]
        },
    }
    observations = _observations(found, ids)
    if observations:
        result["observations"] = observations
    findings = [_finding(found["framework"], control, ids) for control in assessed]
    if findings:
        result["findings"] = findings
    return {
        "assessment-results": {
            "uuid": ids("document"),
            "metadata": {
                "title": f"Evidence by control: {_line(found['title'])}",
                "last-modified": found["made_at"],
                "version": "1",
                "oscal-version": VERSION,
            },
            "import-ap": {"href": f"#{ids('plan')}"},
            "results": [result],
            "back-matter": {"resources": [_plan(found, ids), *_resources(found, ids)]},
        }
    }


def token(framework: str, control: str) -> str:
    """A control's id as an OSCAL token."""
    return f"{framework}_{_NO_TOKEN.sub('.', control).strip('.')}"


class _Ids:
    """UUIDs of the parts of one report."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        about = [found[name] for name in ("origin", "tenant", "framework", "from", "to", "made_at")]
        self._base = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([NAMESPACE, *map(str, about)]))

    def __call__(self, *part: object) -> str:
        return str(uuid.uuid5(self._base, "\n".join(map(str, part))))


def _observations(found: Mapping[str, Any], ids: _Ids) -> list[dict[str, Any]]:
    """One for each type of entry that is there and one for each expectation, shared by the controls."""
    evidence = {one["type"]: one for control in found["controls"] for one in control["evidence"]}
    expected = {one["id"]: one for control in found["controls"] for one in control["expectations"]}
    observations = []
    for kind, one in evidence.items():
        samples = [sample for sample in found["samples"] if sample["type"] == kind]
        observation: dict[str, Any] = {
            "uuid": ids("entries", kind),
            "title": f"Entries: {_line(one['label'])}",
            "description": f"{one['count']} entries of type {kind}, from {one['first']['time']} (index "
            f"{one['first']['index']}) to {one['last']['time']} (index {one['last']['index']}).",
            "methods": ["EXAMINE"],
            "types": ["control-objective"],
            "collected": found["made_at"],
        }
        if samples:
            observation["relevant-evidence"] = [
                {
                    "href": f"#{ids('sample', sample['index'])}",
                    "description": f"Entry {sample['index']}, with its inclusion proof.",
                }
                for sample in samples
            ]
        observations.append(observation)
    for name, one in expected.items():
        observations.append(
            {
                "uuid": ids("expectation", name),
                "title": _line(one["title"]),
                "description": f"{STATES[one['state']]}: {_line(one['detail'])}",
                "props": [_prop("state", one["state"])],
                "methods": ["EXAMINE"],
                "types": ["finding" if one["state"] == "missing" else "control-objective"],
                "collected": found["made_at"],
                **({"remarks": _line(one["remedy"])} if one["remedy"] else {}),
            }
        )
    return observations


def _finding(framework: str, control: Mapping[str, Any], ids: _Ids) -> dict[str, Any]:
    missing = control["status"] == "missing"
    related = [ids("entries", one["type"]) for one in control["evidence"]]
    related += [ids("expectation", one["id"]) for one in control["expectations"]]
    target = token(framework, control["id"])
    return {
        "uuid": ids("finding", control["id"]),
        "title": _line(control["title"]),
        "description": "Something that is expected is not in the log."
        if missing
        else "There are entries, and what is expected of them is there.",
        "props": [_prop("label", control["id"])],
        "target": {
            "type": "objective-id",
            "target-id": target,
            "status": {"state": "not-satisfied" if missing else "satisfied", "reason": "fail" if missing else "pass"},
        },
        "related-observations": [{"observation-uuid": one} for one in related],
    }


def _plan(found: Mapping[str, Any], ids: _Ids) -> dict[str, Any]:
    """What stands for an assessment plan: nobody planned an assessment, the log was read."""
    return {
        "uuid": ids("plan"),
        "title": "Expectations of evidence",
        "description": "There is no assessment plan. What was looked for is in the catalogues of the gateway "
        f"(policies/controls), read for the log {_line(found['origin'])}.",
    }


def _resources(found: Mapping[str, Any], ids: _Ids) -> list[dict[str, Any]]:
    return [
        {
            "uuid": ids("sample", sample["index"]),
            "title": f"Entry {sample['index']} and its proof",
            "description": "The entry in canonical form (RFC 8785), an empty line, and c2sp.org/tlog-proof@v1.",
            "base64": {
                "filename": f"entry-{sample['index']}.txt",
                "media-type": "text/plain",
                "value": base64.b64encode(f"{sample['entry']}\n\n{sample['proof']}".encode()).decode("ascii"),
            },
        }
        for sample in {sample["index"]: sample for sample in found["samples"]}.values()
    ]


def _prop(name: str, value: str) -> dict[str, str]:
    return {"name": name, "ns": NAMESPACE, "value": _line(value)}


def _line(text: str) -> str:
    """One line that is not empty, as OSCAL's strings want it."""
    return safe(text).strip() or "-"
