"""Catalogues are whole, their files fit their schemas, and one with a hole is refused."""

import shutil
from pathlib import Path

import pytest
import yaml

from audit import controls
from audit.assurance.catalogue import Framework, areas, catalogues
from audit.controls import DEFAULT_DIRECTORY
from audit.errors import ControlsInvalid
from gateway.posture.scan import CHECKS

EXPECTED = {
    "plan received": ("gdpr 5(1)(b) 30; soc2 CC2.1 PI1.2; ai_act 12 26(5); ccpa 7002; iso 27001:A.8.15 42001:A.6.2.8"),
    "signature rejected": (
        "gdpr 32 33; soc2 CC6.1 CC6.6 CC7.2 CC7.3; ai_act 15; ccpa 7123; iso 27001:A.8.5 27001:A.8.16"
    ),
    "schema rejected": "gdpr 5(1)(d) 25; soc2 PI1.2 CC6.8; ai_act 15; iso 27001:A.8.16",
    "policy denied": (
        "gdpr 5(1)(b) 5(1)(c) 6 9 25 44-49; soc2 CC6.1 CC6.3 CC6.7 C1.1; ai_act 9 26(1); ccpa 1798.121 7221; "
        "iso 27001:A.5.15 27001:A.8.3 27001:A.8.12"
    ),
    "approval requested": "gdpr 22(3) 29; soc2 CC6.3 CC8.1; ai_act 14 26(2); ccpa 7221; iso 27001:A.5.3 42001:A.9.2",
    "approval granted": "gdpr 22(3) 29; soc2 CC6.3 CC8.1; ai_act 14 26(2); ccpa 7221; iso 27001:A.5.3 42001:A.9.2",
    "approval refused": "gdpr 22(3) 29; soc2 CC6.3 CC8.1; ai_act 14 26(2); ccpa 7221; iso 27001:A.5.3 42001:A.9.2",
    "credential issued": (
        "gdpr 29 32; soc2 CC6.1 CC6.2 CC6.3; ai_act 15; ccpa 7123; "
        "iso 27001:A.5.16 27001:A.5.17 27001:A.5.18 27001:A.8.2"
    ),
    "credential expired": "gdpr 29 32; soc2 CC6.1 CC6.2 CC6.3; ai_act 15; ccpa 7123; iso 27001:A.5.16 27001:A.8.2",
    "step executed": (
        "gdpr 5(2) 15 28(3)(a) 30 44-49; soc2 CC7.2 PI1.3; ai_act 12 19 26(6) 72; ccpa 1798.110 7222; "
        "iso 27001:A.8.15 42001:A.6.2.6"
    ),
    "step failed": "gdpr 5(2) 15 28(3)(a) 30 44-49; soc2 CC7.2 PI1.3; ai_act 12 19 26(6) 72; ccpa 1798.110 7222",
    "result redacted": ("gdpr 5(1)(c) 9 25 32; soc2 CC6.7 C1.1 PI1.4; ccpa 1798.100(c) 1798.121; iso 27001:A.8.11"),
    "key rotated": "gdpr 32(1)(a); soc2 CC6.1; ai_act 15; ccpa 7123; iso 27001:A.8.24",
    "key revoked": "gdpr 32(1)(a); soc2 CC6.1; ai_act 15; ccpa 7123; iso 27001:A.8.24",
    "policy activated": "gdpr 24 25 35(11); soc2 CC7.1 CC8.1; ai_act 12(2)(a) 17; ccpa 7123; iso 27001:A.8.32",
    "policy rolled back": "gdpr 24 25 35(11); soc2 CC7.1 CC8.1; ai_act 12(2)(a) 17; ccpa 7123; iso 27001:A.8.32",
    "log verified": (
        "gdpr 5(1)(f) 5(2) 32(1)(d); soc2 CC4.1 CC7.4 PI1.5 A1.2; ai_act 12 19; ccpa 7123; "
        "iso 27001:A.5.28 27001:A.5.33"
    ),
    "export made": (
        "gdpr 15 30(4) 31 34 44-49; soc2 CC6.7 P5.1 P6.2; ai_act 21 26(12); ccpa 1798.130 7101; iso 27001:A.5.33"
    ),
    "erasure done": (
        "gdpr 5(1)(e) 17 19; soc2 C1.2 P4.3; ai_act 19; ccpa 1798.105 7022 7101; iso 27001:A.8.10 27001:A.5.34"
    ),
}
"""What each of these entries must be evidence for, at least: decided once, and not to be lost in an edit."""


@pytest.mark.parametrize("label", EXPECTED)
def test_an_entry_is_evidence_for_at_least_what_was_decided(label: str) -> None:
    from gateway.entries import LABELS

    kind = next(kind for kind, word in LABELS.items() if word == label)
    mapped = set(controls.shipped().ids[kind])
    wanted = {
        f"{part.split()[0]}:{identifier}" for part in EXPECTED[label].split("; ") for identifier in part.split()[1:]
    }
    assert wanted <= mapped


def test_every_control_has_a_title_an_area_and_an_entry_that_is_evidence_for_it() -> None:
    known = catalogues()
    assert set(known) == set(Framework)
    for catalogue in known.values():
        titles = [control.title for control in catalogue.controls]
        assert len(set(titles)) == len(titles), "two controls that a reader could not tell apart"
        assert all(control.title and control.entries for control in catalogue.controls)
    assert {control.area.id for one in known.values() for control in one.controls} == {area.id for area in areas()}


def test_catalogues_name_the_checks_that_there_are_and_every_check_is_named() -> None:
    named = {check for catalogue in catalogues().values() for one in catalogue.controls for check in one.posture}
    assert named == {check.id for check in CHECKS}


def test_every_expectation_is_of_use() -> None:
    expected = {
        one.id for catalogue in catalogues().values() for control in catalogue.controls for one in control.expects
    }
    listed = yaml.safe_load((DEFAULT_DIRECTORY / "common" / "expectations.yaml").read_text())["expectations"]
    assert expected == set(listed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one["controls"]["5(2)"].pop("title"), "title"),
        (lambda one: one["controls"]["5(2)"].update(title=" "), "title"),
        (lambda one: one["controls"].pop("5(2)"), r"5\(2\).* no title"),
        (lambda one: one["controls"].update({"99": {"title": "Nothing", "area": "access"}}), "no entry is evidence"),
        (lambda one: one["controls"]["5(2)"].update(area="nowhere"), "nowhere"),
        (lambda one: one["controls"]["5(2)"].update(expects=["nothing-such"]), "nothing-such"),
        (lambda one: one["controls"]["5(2)"].update(surprise=1), "surprise"),
        (lambda one: one["entries"].update(UNKNWN=["5(2)"]), "UNKNWN"),
        (lambda one: one.update(catalogue="other"), "other"),
        (lambda one: one.update(framework="hipaa"), "hipaa"),
    ],
)
def test_a_catalogue_with_a_hole_is_refused(tmp_path: Path, change, message: str) -> None:
    shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "controls")
    file = tmp_path / "controls" / "gdpr.yaml"
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ControlsInvalid, match=message):
        catalogues(tmp_path / "controls")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one["log-verified"].update(entries=["NOSUCH"]), "NOSUCH"),
        (lambda one: one["log-verified"].update(at_least=1), "log-verified"),
        (lambda one: one["log-verified"].pop("every_days"), "log-verified"),
        (lambda one: one["log-verified"].pop("remedy"), "remedy"),
    ],
)
def test_an_expectation_that_cannot_be_judged_is_refused(tmp_path: Path, change, message: str) -> None:
    shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "controls")
    file = tmp_path / "controls" / "common" / "expectations.yaml"
    document = yaml.safe_load(file.read_text())
    change(document["expectations"])
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(ControlsInvalid, match=message):
        catalogues(tmp_path / "controls")


def test_a_framework_without_a_catalogue_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "controls")
    (tmp_path / "controls" / "ccpa.yaml").unlink()
    with pytest.raises(ControlsInvalid, match="ccpa"):
        catalogues(tmp_path / "controls")
