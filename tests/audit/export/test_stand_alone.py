"""The verifier alone: one copied directory, an interpreter, ``cryptography``, and nothing of ours on the path."""

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
import zipapp
from pathlib import Path

import pytest

from audit import verifier
from audit.checkpoint import VerifierKey, verify_checkpoint
from audit.errors import NoteInvalid
from audit.verifier.errors import EvidenceError
from audit.verifier.note import Note, Vkey
from gateway.canonical import canonical
from tests.audit.export.house import House, check, taken_apart

SOURCE = Path(verifier.__file__).parent
NEEDED = ("cryptography", "cffi", "_cffi_backend*", "pycparser")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with ``cryptography``, what that needs, and nothing else."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    [packages] = place.glob("lib/python*/site-packages")
    here = Path(sys.modules["cryptography"].__file__ or "").parents[1]
    for pattern in NEEDED:
        for found in here.glob(pattern):
            (packages / found.name).symlink_to(found)
    return place / "bin" / "python"


@pytest.fixture
async def evidence(house: House, tmp_path: Path) -> Path:
    """A bundle, a changed one, a checkpoint and a trust document, in a directory."""
    raw = await house.bundle(payloads=True)
    (tmp_path / "good.tar").write_bytes(raw)
    changed = bytearray(raw)
    changed[raw.index(b'"STPEXE"') + 2] ^= 1
    (tmp_path / "bad.tar").write_bytes(changed)
    (tmp_path / "kept.txt").write_bytes(taken_apart(raw)[1][1])
    (tmp_path / "trust.json").write_bytes(canonical(house.trust()))
    (tmp_path / "key").write_text(house.log.vkey())
    return tmp_path


def _run(python: Path, at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without our path, without the user's, and in a directory of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), "-s", *arguments],
        cwd=at,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("form", ["directory", "zipapp"])
async def test_it_runs_anywhere_with_cryptography_alone(evidence: Path, python: Path, form: str) -> None:
    place = evidence / "elsewhere"
    place.mkdir()
    shutil.copytree(SOURCE, place / "verifier", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["-m", "verifier"]
    if form == "zipapp":
        (place / "__main__.py").write_text("import runpy\nrunpy.run_module('verifier', run_name='__main__')\n")
        zipapp.create_archive(place, evidence / "verifier.pyz")
        shutil.rmtree(place / "verifier")
        command = [str(evidence / "verifier.pyz")]
    missing = _run(python, place, "-c", "import gateway")
    assert "No module named 'gateway'" in missing.stderr
    key = (evidence / "key").read_text()
    good = _run(python, place, *command, str(evidence / "good.tar"), "--key", key, "--kept", str(evidence / "kept.txt"))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "it only grew" in good.stdout
    assert good.stdout.endswith("VERDICT: the bundle holds.\n")
    bad = _run(python, place, *command, str(evidence / "bad.tar"), "--trust", str(evidence / "trust.json"), "--json")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    document = json.loads(bad.stdout)
    assert (document["holds"], document["verdict"]) == (False, "failed")
    for wrong in ([], ["--key", "nonsense"], ["--key", key, "--quorum", "2"], ["--key", key, "--kept", "absent"],
                  ["--key", key, "--witness", key]):  # fmt: skip
        done = _run(python, place, *command, str(evidence / "good.tar"), *wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
        assert "Traceback" not in done.stderr


def test_every_import_is_the_standard_librarys_cryptographys_or_its_own() -> None:
    for file in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {name.name.partition(".")[0] for name in node.names} <= sys.stdlib_module_names, file
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                top = (node.module or "").partition(".")[0]
                assert top == "cryptography" or top in sys.stdlib_module_names, f"{file}: {node.module}"
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, file


def _both(note: bytes, vkey: str, origin: str) -> tuple[bool, bool]:
    """Whether the gateway's reading and the verifier's take a note."""
    try:
        verify_checkpoint(note.decode(), [VerifierKey.parse(vkey)], origin)
        gateways = True
    except (NoteInvalid, UnicodeDecodeError):
        gateways = False
    try:
        read = Note.parse(note, "note")
        read.signed_by([Vkey.parse(vkey)], "note")
        alone = read.checkpoint.origin == origin
    except EvidenceError:
        alone = False
    return gateways, alone


async def test_two_readings_of_notes_agree_on_every_changed_byte(house: House) -> None:
    """Where they differ, the verifier is the stricter one."""
    _, text = await house.log.signed_head()
    note, vkey = text.encode(), house.log.vkey()
    assert _both(note, vkey, house.log.origin) == (True, True)
    for at in range(len(note)):
        for bit in range(8):
            changed = bytearray(note)
            changed[at] ^= 1 << bit
            gateways, alone = _both(bytes(changed), vkey, house.log.origin)
            assert (gateways, alone) == (False, False), (at, bit)
    for text in (
        "",
        "\n",
        "a\n\n",
        "a\n1\nAAAA\n\n",
        "a\n01\n",
        note.decode()[:-1],
        note.decode() + "\n",
        note.decode() * 2,
    ):
        assert _both(text.encode(), vkey, house.log.origin) == (False, False), text


async def test_the_verifier_finds_the_same_root_as_the_log(house: House) -> None:
    report = check(await house.bundle(), house.key)
    size, root = house.log.reader.head()
    assert (report.facts["tree_size"], report.facts["root"]) == (size, root.hex())
