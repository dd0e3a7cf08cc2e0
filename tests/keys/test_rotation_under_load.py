"""No message is refused while every key is rotated; ``make rotation`` does the same with 100,000 of them."""

from pathlib import Path

import pytest

from bench import rotation


async def test_keys_of_every_purpose_are_rotated_under_load_and_no_message_is_refused(tmp_path: Path) -> None:
    found = await rotation.run(tmp_path / "home", 2_000)
    assert found["failures"] == []
    assert found["messages"] >= 2_000
    assert found["rotations"] == {str(purpose): rotation.ROTATIONS for purpose in rotation.PURPOSES}
    assert set(found["keys"].values()) == {1 + rotation.ROTATIONS}, "each kind of message was signed by each key"


async def test_a_rotation_that_does_not_wait_for_the_readers_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rig can fail: the next key signs before it is in every cached key set."""
    monkeypatch.setattr("keys.rotation.known_at", lambda _records, key, _lifetimes: key.created_at)
    found = await rotation.run(tmp_path / "home", 100_000)
    assert "verify.unknown_key" in " ".join(found["failures"]) or "no key that was published" in " ".join(
        found["failures"]
    )
