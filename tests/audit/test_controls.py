"""The control mapping is complete, and an incomplete one is refused."""

import pytest
import yaml

from audit.controls import DEFAULT_DIRECTORY, load
from audit.errors import ControlsInvalid
from gateway.entries import EntryType


def test_every_type_maps_to_something_or_says_why_in_every_catalogue():
    controls = load(DEFAULT_DIRECTORY)
    assert set(controls.why_none) == {"gdpr", "soc2", "ai_act", "ccpa", "iso"}
    assert set(controls.ids) == set(EntryType)
    for catalogue, reasons in controls.why_none.items():
        for entry_type in EntryType:
            mapped = any(item.startswith(f"{catalogue}:") for item in controls.ids[entry_type])
            assert mapped != (entry_type in reasons)
    assert all(len(why) > 20 for reasons in controls.why_none.values() for why in reasons.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.pop("PLNRCV"), "says nothing of PLNRCV"),
        (lambda entries: entries.update(PLNRCV=[]), "PLNRCV"),
        (lambda entries: entries.update(PLNRCV={"none": " "}), "does not say why"),
        (lambda entries: entries.update(PLNRCV={"none": "because", "also": 1}), "PLNRCV"),
        (lambda entries: entries.update(PLNRCV=["with space"]), "PLNRCV"),
        (lambda entries: entries.update(PLNRCV=["\u00a77002"]), "PLNRCV"),
        (lambda entries: entries.update(PLNRCV="30"), "PLNRCV"),
        (lambda entries: entries.update(UNKNWN=["30"]), "UNKNWN"),
    ],
)
def test_a_mapping_with_a_hole_is_refused(tmp_path, change, message):
    document = yaml.safe_load((DEFAULT_DIRECTORY / "gdpr.yaml").read_text())
    change(document["entries"])
    (tmp_path / "gdpr.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ControlsInvalid, match=message):
        load(tmp_path)


@pytest.mark.parametrize("text", ["- list", "entries: 3", "a: [", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "gdpr.yaml").write_text(text)
    with pytest.raises(ControlsInvalid):
        load(tmp_path)


def test_no_mapping_at_all_is_refused(tmp_path):
    with pytest.raises(ControlsInvalid):
        load(tmp_path)
