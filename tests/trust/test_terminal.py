"""``handrail proposals sign`` against a real gateway, by somebody with a key of their own in a file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from handrail import SigningKey

from tests.cli import real


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("terminal")
    with real.gateway(directory, real.CONFIG, {"ada": "agent"}, signer="ada", issuer="agent") as home:
        yield home


def test_an_enrolled_key_signs_what_is_shown_and_the_end_is_said_before_the_document(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ben, other = SigningKey.generate(), SigningKey.generate()
    ben.save(tmp_path / "ben.jwk")
    other.save(tmp_path / "other.jwk")
    public = tmp_path / "ben.pub.jwk"
    public.write_text(json.dumps(ben.public.public_jwk()))
    admin = ("--as", "admin", "--json")
    added = real.invoke(
        home, "principals", "add", "ben", "--role", "security_admin", "--approval-key", str(public), *admin
    )
    assert added.exit_code == 0, added.output
    stored = json.loads((home / "cli.json").read_text())
    stored["principals"]["ben"] = {"api_key": json.loads(added.stdout)["api_key"]["token"]}
    (home / "cli.json").write_text(json.dumps(stored))
    own = json.loads(real.invoke(home, "keys", "api", "--out", "me.key", "--json").stdout)["own_key"]
    made = real.invoke(
        home, "principals", "add", "cat", "--role", "operator", "--own-key", own, "--as", "admin", "--json"
    )
    assert made.exit_code == 4, made.output
    proposal = json.loads(made.stdout)["id"]
    for more in ((), ("--key", "other.jwk")):
        refused = real.invoke(home, "proposals", "sign", proposal, "--yes", "--as", "ben", *more)
        assert refused.exit_code == 2, refused.output
    signed = real.invoke(home, "proposals", "sign", proposal, "--yes", "--as", "ben", "--key", "ben.jwk")
    assert signed.exit_code == 0, signed.output
    assert "2 of 2 signed" in signed.stdout
    shown = json.loads(real.invoke(home, "proposals", "show", proposal, "--as", "ben", "--json").stdout)
    assert [(one["by"], one["attested_by"], one["kid"]) for one in shown["signatures"]] == [
        ("admin", "gateway", None),
        ("ben", "signer", ben.kid),
    ]
    again = real.invoke(home, "proposals", "sign", proposal, "--as", "admin")
    assert again.exit_code == 1, again.output
    assert re.search(rf"{proposal} is closed: it was activated by ben at 20", again.output)
    assert "the exact document" not in again.output
    error = json.loads(real.invoke(home, "proposals", "sign", proposal, "--as", "admin", "--json").stdout)["error"]
    assert error["code"] == "proposal.closed"
