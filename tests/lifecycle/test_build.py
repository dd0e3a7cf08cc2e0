"""A bundle is built from a commit and nothing else, and is believed by its signature and digest alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from handrail import SigningKey
from typer.testing import CliRunner, Result

from gateway.canonical import b64url_encode
from gateway.cli.main import app
from gateway.errors import HandrailError, Refused
from gateway.policy import build, signed
from gateway.policy.bundle import assemble, load
from gateway.policy.faults import BundleError
from gateway.policy.git import ADDRESSES_MAX_BYTES, GitFailed, full_name, revision, run
from gateway.ports import Typ
from gateway.reasons import Reason
from keys import jws
from tests.lifecycle.repository import GOOD, RULES, Repository
from tests.policy.support import SHIPPED

KEY = SigningKey(b"\x05" * 32)
NO_TESTS: dict[str, Any] = {"opa": None, "tests": None, "coverage": None}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit(GOOD)
    return made


def token(repository: Repository, **changes: Any) -> bytes:
    found = revision(repository.path, "HEAD", "policies")
    raw = signed.payload(found, "policies", built_at=7, signer="ann", checks=NO_TESTS)
    if changes:
        raw = json.dumps({**json.loads(raw), **changes}).encode()
    return jws.sign(KEY.sign, jws.protected(KEY.kid, Typ.BUNDLE), raw).encode()


def ours(kid: str) -> dict[str, Any]:
    if kid != KEY.kid:
        raise Refused(Reason.VERIFY_UNKNOWN_KEY)
    return dict(KEY.public.public_jwk())


# --- from Git ---------------------------------------------------------------------------------------------------------


def test_what_lies_in_the_work_tree_or_the_index_is_not_built(repository: Repository) -> None:
    before = revision(repository.path, "HEAD", "policies")
    repository.write(
        {"policies/handrail/main.rego": "package handrail\n", "policies/handrail/evil.rego": "package x\n"}
    )
    repository.git("add", "-A")
    assert revision(repository.path, "HEAD", "policies") == before
    assert set(before.files) == {"handrail/main.rego"}
    assert set(before.tests) == {"handrail/main_test.rego"}
    assert before.files["handrail/main.rego"] == RULES.encode()


def test_a_commit_and_its_checkout_have_one_digest(repository: Repository) -> None:
    built = assemble(revision(repository.path, "HEAD", "policies").files)
    assert built.digest == load(repository.path / "policies").digest
    root = assemble(revision(repository.path, "HEAD", "policies/handrail").files)
    assert root.digest == load(repository.path / "policies" / "handrail").digest


def test_the_shipped_policies_built_from_git_are_the_shipped_policies(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "copy")
    files = {
        f"policies/{path.relative_to(SHIPPED)}": path.read_text()
        for path in SHIPPED.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    repository.commit(files)
    assert assemble(revision(repository.path, "HEAD", "policies").files).digest == load(SHIPPED).digest


@pytest.mark.parametrize("mode", ["120000", "160000"])
@pytest.mark.parametrize("name", ["policies/handrail/x.rego", "policies/x", "policies/handrail/data.json"])
def test_a_link_or_a_submodule_is_refused(repository: Repository, mode: str, name: str) -> None:
    commit = repository.plumb(
        mode, name, b"/etc/passwd", repository.git("rev-parse", "HEAD") if mode[0:2] == "16" else None
    )
    with pytest.raises(BundleError) as caught:
        revision(repository.path, commit, "policies")
    assert name.removeprefix("policies/") in caught.value.detail


def test_a_tree_with_one_name_twice_is_refused(repository: Repository) -> None:
    """Readers are shown the first file, and the last would be built."""
    repository.commit(GOOD)
    blob, other = (
        repository.git("hash-object", "-w", f"policies/handrail/{name}.rego") for name in ("main", "main_test")
    )
    inner = repository.tree(f"100644 blob {blob}\ta.rego\n100644 blob {other}\ta.rego\n")
    commit = repository.git("commit-tree", "-m", "twice", repository.tree(f"040000 tree {inner}\tpolicies\n"))
    with pytest.raises(BundleError, match=r"a\.rego: stands more than once"):
        revision(repository.path, commit, "policies")


def test_a_directory_that_is_a_link_is_not_followed(repository: Repository) -> None:
    commit = repository.plumb("120000", "elsewhere", b"policies")
    with pytest.raises(GitFailed):
        revision(repository.path, commit, "elsewhere")
    with pytest.raises(GitFailed):
        revision(repository.path, commit, "elsewhere/handrail")


@pytest.mark.parametrize(
    "directory", ["..", "policies/..", "/policies/../..", "nowhere", "policies/handrail/main.rego"]
)
def test_a_directory_outside_of_the_commit_is_refused(repository: Repository, directory: str) -> None:
    with pytest.raises(GitFailed):
        revision(repository.path, "HEAD", directory)


@pytest.mark.parametrize("name", ["--upload-pack=touch x", "-h", "HEAD:policies", "nothing", "", "HEAD~9"])
def test_a_name_that_is_no_commit_is_refused_and_no_option(repository: Repository, name: str) -> None:
    with pytest.raises(GitFailed) as caught:
        revision(repository.path, name, "policies")
    assert caught.value.reason is Reason.POLICY_SOURCE
    assert not (repository.path / "x").exists()


def test_files_out_of_bounds_and_yaml_data_are_refused(repository: Repository) -> None:
    big = repository.commit({"policies/handrail/big.rego": "#" * 1_048_577})
    with pytest.raises(BundleError) as caught:
        revision(repository.path, big, "policies")
    assert "larger" in caught.value.detail
    (repository.path / "policies/handrail/big.rego").unlink()
    yaml = repository.commit({"policies/handrail/data.yaml": "a: 1\n"})
    with pytest.raises(BundleError) as caught:
        revision(repository.path, yaml, "policies")
    assert "data.json" in caught.value.detail


def test_nothing_that_the_repository_configures_is_run(repository: Repository, tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "filter.x.smudge", "core.askPass"):
        repository.git("config", name, str(script))
    repository.git("config", "uploadpack.packObjectsHook", str(script))
    hooks = repository.path / ".git" / "hooks"
    for name in ("post-checkout", "reference-transaction", "pre-commit"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    repository.write({".gitattributes": "* filter=x diff=x\n"})
    assert revision(repository.path, "HEAD", "policies").files
    assert not trap.exists()


def test_no_credential_helper_environment_or_home_reaches_git(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_SSH_COMMAND", "touch trapped")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[core]\n\tabbrev = nonsense\n")
    assert revision(repository.path, "HEAD", "policies").commit
    listed = run(["config", "--list", "--show-origin"], directory=repository.path).decode()
    assert str(tmp_path / ".gitconfig") not in listed


def test_git_that_says_too_much_or_takes_too_long_is_ended(repository: Repository) -> None:
    with pytest.raises(GitFailed, match="more than 10 bytes"):
        run(["cat-file", "-p", "HEAD"], directory=repository.path, output_max_bytes=10)
    with pytest.raises(GitFailed, match="longer than"):
        run(["cat-file", "--batch"], directory=repository.path, stdin=b"HEAD\n" * 200_000, seconds=0.001,
            output_max_bytes=10**9)  # fmt: skip


# --- the signed file --------------------------------------------------------------------------------------------------


def test_git_that_reads_what_strangers_packed_gets_no_more_memory_than_it_needs(repository: Repository) -> None:
    """A few bytes of a delta can stand for gigabytes."""
    shown = ["-c", "alias.limits=!sleep 0.2; ulimit -v"]
    said = run([*shown, "limits"], directory=repository.path, file_max_bytes=1_048_576)
    assert int(said) * 1024 == ADDRESSES_MAX_BYTES
    assert run([*shown, "limits"], directory=repository.path).strip() == b"unlimited"


def test_a_signed_bundle_is_read_back(repository: Repository) -> None:
    found = signed.verify(token(repository), ours)
    assert found.bundle == assemble(revision(repository.path, "HEAD", "policies").files)
    assert (found.commit, found.signer, found.kid) == (repository.git("rev-parse", "HEAD"), "ann", KEY.kid)
    assert signed.claimed_signer(token(repository)) == "ann"


def test_an_unsigned_a_foreign_and_a_tampered_bundle_are_refused(repository: Repository) -> None:
    good = token(repository)
    head, body, tail = good.split(b".")
    other = SigningKey(b"\x06" * 32)
    foreign = jws.sign(other.sign, jws.protected(other.kid, Typ.BUNDLE), b"{}").encode()
    forged = jws.sign(other.sign, jws.protected(KEY.kid, Typ.BUNDLE), b"{}").encode()
    wrong_class = jws.sign(KEY.sign, jws.protected(KEY.kid, Typ.APPROVAL), b"{}").encode()
    flipped = head + b"." + b64url_encode(b'{"v":1}').encode() + b"." + tail
    none = b64url_encode(b'{"alg":"none","typ":"bundle+jws"}').encode() + b"." + body + b"."
    for bad in (head + b"." + body, head + b"." + body + b".", foreign, forged, wrong_class, flipped, none, b"", b"x"):
        with pytest.raises(HandrailError) as caught:
            signed.verify(bad, ours)
        assert caught.value.reason.startswith("verify."), bad[:40]


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "0" * 64},
        {"files": {"handrail/main.rego": RULES + "\n"}},
        {"files": {"../main.rego": RULES}},
        {"files": {"handrail/.main.rego": RULES}},
        {"files": {"handrail/main_test.rego": RULES}},
        {"files": {"handrail/README.md": "x", "handrail/main.rego": RULES}},
        {"files": {"handrail/main.rego": 1}},
        {"files": []},
        {"commit": "HEAD"},
        {"commit": None},
        {"signer": ""},
        {"signer": None},
        {"built_at": 1.5},
        {"checks": None},
        {"v": True},
        {"more": 1},
    ],
)
def test_a_signed_file_that_is_no_such_bundle_is_refused(repository: Repository, changes: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        signed.verify(token(repository, **changes), ours)


# --- the checks -------------------------------------------------------------------------------------------------------


def test_tests_run_with_coverage_and_without_a_network(
    repository: Repository, require_service: Callable[[object, str, str], None]
) -> None:
    require_service(build.find_opa(), "opa", "make tools")
    found = build.opa_checks(revision(repository.path, "HEAD", "policies"))
    assert (found["tests"], found["coverage"]) == (1, 100.0)
    assert found["opa"]
    calling = (
        'package handrail_test\n\ntest_call if http.send({"method": "get", "url": "http://127.0.0.1:1"}).status_code\n'
    )
    repository.commit({"policies/handrail/call_test.rego": calling})
    with pytest.raises(BundleError, match=r"http\.send"):
        build.opa_checks(revision(repository.path, "HEAD", "policies"))


@pytest.mark.parametrize(
    ("files", "said", "places"),
    [
        (
            {"policies/handrail/main_test.rego": "package handrail_test\n\ntest_no if false\n"},
            "test failed",
            ["handrail/main_test.rego:3:1: test failed: data.handrail_test.test_no"],
        ),
        ({"policies/handrail/main_test.rego": "package handrail_test\n\nx := 1\n"}, "0 tests", None),
        (
            {"policies/handrail/more.rego": "package handrail.more\n\nx if input.y\n"},
            "cover",
            ["handrail/more.rego:3:1: no test covers this line"],
        ),
        (
            {"policies/handrail/more.rego": "package handrail.more\n\nimport data.handrail.nothing\n\nx := 1\n"},
            "check",
            ["handrail/more.rego:3:1: opa check: import data.handrail.nothing unused"],
        ),
    ],
)
def test_a_failing_test_missing_coverage_or_a_strict_error_refuses(
    repository: Repository,
    require_service: Callable[[object, str, str], None],
    files: dict[str, str],
    said: str,
    places: list[str] | None,
) -> None:
    require_service(build.find_opa(), "opa", "make tools")
    repository.commit(files)
    with pytest.raises(BundleError, match=said) as caught:
        build.opa_checks(revision(repository.path, "HEAD", "policies"))
    assert [str(problem) for problem in caught.value.problems if problem.line] == places or places is None


async def test_a_bundle_that_allows_what_is_unknown_is_not_signed(repository: Repository) -> None:
    allowing = RULES.replace('"deny"', '"allow"')
    with pytest.raises(BundleError, match="self-test"):
        await build.prove(assemble({"handrail/main.rego": allowing.encode()}))
    await build.prove(assemble(revision(repository.path, "HEAD", "policies").files))


# --- the command ------------------------------------------------------------------------------------------------------


def command(directory: Path, *arguments: object) -> Result:
    environment = {"HANDRAIL_HOME": str(directory / "home"), "COLUMNS": "200"}
    return CliRunner().invoke(app, ["policy", "build", *map(str, arguments)], env=environment)


def test_the_command_writes_one_file_that_verifies(repository: Repository, tmp_path: Path) -> None:
    KEY.save(tmp_path / "ann.jwk")
    out = tmp_path / "policy.bundle"
    options = (
        "--repo",
        repository.path,
        "--rev",
        "main",
        "--key",
        tmp_path / "ann.jwk",
        "--signer",
        "ann",
        "--out",
        out,
    )
    result = command(tmp_path, *options, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    found = signed.verify(out.read_bytes(), ours)
    assert said["digest"] == found.bundle.digest
    assert said["commit"] == found.commit == repository.git("rev-parse", "main")
    assert (said["revision"], said["directory"]) == ("refs/heads/main", "policies")
    assert "No gateway was asked" in result.stderr
    assert [file for file in tmp_path.iterdir() if file.name.startswith(".policy")] == []


def test_the_command_refuses_and_writes_nothing(repository: Repository, tmp_path: Path) -> None:
    KEY.save(tmp_path / "ann.jwk")
    out = tmp_path / "policy.bundle"
    options = ("--repo", repository.path, "--signer", "ann", "--out", out)
    assert command(tmp_path, *options, "--rev", "main").exit_code == 2, "no key, no bundle"
    assert command(tmp_path, *options, "--rev", "none", "--key", tmp_path / "ann.jwk").exit_code == 2
    repository.commit({"policies/handrail/main.rego": "package handrail\n\ndecisions := {\n"})
    result = command(tmp_path, *options, "--rev", "main", "--key", tmp_path / "ann.jwk")
    assert (result.exit_code, "syntax error" in result.output) == (1, True)
    assert "policies/handrail/main.rego:" in result.output
    result = command(tmp_path, *options, "--rev", "policies", "--key", tmp_path / "ann.jwk")
    assert (result.exit_code, "--rev HEAD --directory policies" in result.output) == (2, True)
    assert not out.exists()


def test_a_name_of_two_things_is_refused(repository: Repository) -> None:
    repository.git("tag", "release")
    assert full_name(repository.path, "release") == "refs/tags/release"
    repository.git("branch", "release")
    with pytest.raises(GitFailed, match="refs/heads/release and refs/tags/release"):
        full_name(repository.path, "release")
    for name in ("refs/heads/release", "HEAD", "HEAD~0", "main^{commit}"):
        assert full_name(repository.path, name) == name
    commit = repository.git("rev-parse", "HEAD")
    assert full_name(repository.path, commit) == commit
    repository.git("branch", commit[:7])
    with pytest.raises(GitFailed, match=f"refs/heads/{commit[:7]} and the object {commit[:7]}"):
        full_name(repository.path, commit[:7])
