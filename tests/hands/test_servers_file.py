"""What is made of the files in which MCP clients keep their servers."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import HandSettings, Settings, SettingsError
from hand_adapters.mcp.servers_file import Declared, Server, declare, read


def written(directory: Path, document: Any) -> Path:
    path = directory / ".mcp.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def one(entry: dict[str, Any], packages: Path | None = None, name: str = "x") -> Declared:
    [declared] = declare([Server(name, entry)], packages)
    return declared


@pytest.mark.parametrize(
    "word", ["./server.js", "../x/main.py", "server.mjs", "dist/index.js", "..\\x\\run.ts", "./run"]
)
def test_a_path_that_is_none_from_everywhere_is_said(word: str) -> None:
    assert f"{word} is relative to wherever its client runs" in " ".join(one({"command": "node", "args": [word]}).notes)


@pytest.mark.parametrize(
    "word", ["/srv/server.js", "-m", "mcp_server_time", "--file=./x.py", "a@1.0.js/b", "https://x/y.js"]
)
def test_what_is_no_such_path_is_not(word: str) -> None:
    assert "is relative" not in " ".join(one({"command": "node", "args": [word]}).notes)


@pytest.mark.parametrize("section", ["mcpServers", "servers"])
def test_each_client_s_file_is_read(tmp_path: Path, section: str) -> None:
    entry = {"command": sys.executable, "args": ["-m", "server"]}
    path = written(tmp_path, {section: {"a": entry}, "globalShortcut": "Ctrl"})
    assert read(path) == [Server("a", entry)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1, column 2"),
        ("[]", "has no mcpServers"),
        ('{"mcpServers": []}', "has no mcpServers"),
        ("[" * 100_000, "is not JSON"),
        ('{"mcpServers": {"a": {"n": ' + "1" * 5_000 + "}}}", "a number that is too long"),
        ('{"a": "' + "x" * 5_000_000 + '"}', "larger than"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read(tmp_path / "none.json")


def test_ids_are_made_of_names_and_differ() -> None:
    names = ["Git Repo", "git-repo", "git repo", "7zip", "../../etc", "\u202e", "x" * 200, "GIT_REPO"]
    ids = [item.id for item in declare([Server(name, {}) for name in names])]
    assert ids[:4] == ["git-repo", "git-repo-2", "git-repo-3", "hand-7zip"]
    assert len(set(ids)) == len(names)
    for hand_id in ids:  # every one is an identifier of a settings file
        HandSettings.model_validate({"adapter": hand_id, "enabled": False})


@pytest.mark.parametrize("word", ["\ud800", "a\0b"])
def test_what_no_program_can_be_given(word: str) -> None:
    for entry in ({"command": word}, {"command": sys.executable, "args": ["/" + word]}):
        assert "no list of texts that a program can be given" in one(entry).problem
    passed = one({"command": sys.executable, "env": {"A": word, "B": "b"}})
    assert passed.env == {"B": "b"}
    assert "A in its env is left out" in " ".join(passed.notes)


@pytest.mark.parametrize("args", ["--root /data", [1], {"a": "b"}])
def test_arguments_that_are_no_list_of_texts(args: Any) -> None:
    assert one({"command": sys.executable, "args": args}).problem.startswith("Its args are no list of texts")


def test_a_path_that_nobody_can_look_at_is_no_directory() -> None:
    declared = one({"command": sys.executable, "args": ["/" + "x" * 5_000]})
    assert (declared.problem, declared.directories) == ("", ())


def test_a_script_that_the_jail_would_not_see_is_named(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("")
    declared = one({"command": sys.executable, "args": [str(script)]})
    assert declared.directories == ()  # what lies beside it is for a person to judge
    assert f"{script} is a file that its jail does not see. Add a bind" in " ".join(declared.notes)
    beside = one({"command": sys.executable, "args": [str(script), str(tmp_path)]})
    assert "that its jail does not see" not in " ".join(beside.notes)


def installed(directory: Path, package: str, bin_: Any, script: str = "dist/index.js") -> None:
    root = directory / "node_modules" / package
    (root / script).parent.mkdir(parents=True, exist_ok=True)
    (root / script).write_text("// a server\n")
    (root / "package.json").write_text(json.dumps({"name": package, "bin": bin_}))


@pytest.mark.parametrize(
    "words",
    [
        ["npx", "-y", "@scope/server-files@1.2.3", "/data"],
        ["npx", "--yes", "--package=@scope/server-files", "server-files", "/data"],
        ["npx", "-y", "-p", "@scope/server-files", "--", "server-files", "/data"],
        ["npm", "exec", "@scope/server-files", "/data"],
        ["cmd", "/c", "npx", "-y", "@scope/server-files", "/data"],
        ["C:\\Program Files\\nodejs\\npx.cmd", "@scope/server-files", "/data"],
    ],
)
def test_what_npx_would_fetch_is_started_from_where_npm_put_it(tmp_path: Path, words: list[str]) -> None:
    installed(tmp_path, "@scope/server-files", {"server-files": "dist/index.js"})
    declared = one({"command": words[0], "args": words[1:]}, tmp_path)
    script = tmp_path / "node_modules/@scope/server-files/dist/index.js"
    assert declared.problem == ""
    assert Path(declared.command[0]).name == "node"
    assert declared.command[1:] == (str(script), "/data")
    assert declared.directories == (tmp_path / "node_modules",)


def test_without_an_installation_the_command_that_makes_one_is_said(tmp_path: Path) -> None:
    entry = {"command": "npx", "args": ["-y", "@scope/server-files@2"]}
    assert "npm install --ignore-scripts --prefix DIR @scope/server-files@2" in one(entry).problem
    assert f"npm install --ignore-scripts --prefix {tmp_path}" in one(entry, tmp_path).problem


@pytest.mark.parametrize(
    "bin_", ["../../../../outside.js", {"other": "a", "another": "b"}, 7, {}, {"files": ["x"]}, None]
)
def test_a_package_that_points_elsewhere_is_not_started(tmp_path: Path, bin_: Any) -> None:
    (tmp_path / "outside.js").write_text("// not of the package\n")
    installed(tmp_path, "files", bin_)
    assert one({"command": "npx", "args": ["files"]}, tmp_path).problem


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["uvx", "mcp-server-git@latest", "--repository", "r"], ("mcp-server-git", "--repository", "r")),
        (["uvx", "--from", "mcp-servers", "mcp-server-git"], ("mcp-server-git",)),
        (["uv", "tool", "run", "mcp-server-git"], ("mcp-server-git",)),
        (["pipx", "run", "mcp-server-git==1.0"], ("mcp-server-git",)),
        (["uv", "--directory", "/srv/p", "run", "serve"], ("/srv/p/.venv/bin/serve",)),
        (["uv", "run", "--directory", "/srv/p", "main.py"], ("/srv/p/.venv/bin/python", "/srv/p/main.py")),
    ],
)
def test_what_python_s_runners_would_fetch(words: list[str], command: tuple[str, ...]) -> None:
    assert one({"command": words[0], "args": words[1:]}).command == command


@pytest.mark.parametrize("evil", ["x@1';reboot;'", "x@1;reboot", "x@$(reboot)", "x@`reboot`", "x@1|sh"])
def test_no_command_to_copy_holds_what_a_shell_runs(evil: str) -> None:
    assert "npm install" not in one({"command": "npx", "args": ["-y", evil]}).problem
    assert not any("pip install" in note for note in one({"command": "uvx", "args": [evil]}).notes)


def test_a_program_that_is_not_there_is_said() -> None:
    [note] = one({"command": "uvx", "args": ["no-such-server@1.2"]}).notes
    assert "no-such-server: no such program" in note
    assert "pip install 'no-such-server==1.2'" in note


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"type": "sse", "url": "https://mcp.example/sse"}, "speaks sse"),
        ({"url": "https://${HOST}/mcp"}, "stands for something"),
        ({"url": "https://user:w0rd@mcp.example/mcp"}, "credentials in it"),
        ({"url": "http://mcp.example/mcp"}, "in clear"),
        ({"url": "http://169.254.169.254/latest"}, "does not dial"),
        ({"url": "file:///etc/passwd"}, "begins with https"),
        ({"url": ["https://mcp.example"]}, "url is none"),
        ({"url": "https://[::1/mcp"}, "url is none"),
        ({"command": "docker", "args": ["run", "-i", "image"]}, "container"),
        ({"command": "bash", "args": ["-c", "serve | tee log"]}, "shell"),
        ({"command": "npx", "args": ["-c", "serve"]}, "shell"),
        ({"command": "cmd", "args": ["/c", "bash", "-c", "x"]}, "shell"),
        ({"command": "serve", "args": ["${SECRET_DIR}"]}, "SECRET_DIR"),
        ({"command": "serve", "args": ["${input:key}"]}, "input:key"),
        ({"command": "uv", "args": ["run", "serve"]}, "absolute path"),
        ({"args": ["x"]}, "no command"),
        ({"command": 7}, "no command"),
        ({"command": "serve", "args": "all of it"}, "no list of texts"),
        ({"command": "npx", "args": ["github:somebody/something"]}, "no package"),
        ({"command": "npx", "args": ["../here"]}, "no package"),
    ],
)
def test_what_cannot_be_a_hand_says_why(entry: dict[str, Any], said: str) -> None:
    declared = one(entry)
    assert said in declared.problem
    assert declared.command == ()


def test_variables_have_their_defaults() -> None:
    declared = one({"command": "${PYTHON:-python3}", "args": ["--zone=${ZONE:-UTC}"], "env": {"A": "${B:-c}"}})
    assert declared.command == ("python3", "--zone=UTC")
    assert declared.env == {"A": "c"}


def test_no_secret_is_taken_over() -> None:
    env = {
        "GITHUB_PERSONAL_ACCESS_TOKEN": "short",
        "OPENAI_API_KEY": "x",
        "dbPassword": "x",
        "PLAIN": "ghp_0123456789abcdefghij",
        "URL": "postgresql://user:hunter2@db/x",
        "PEM": "-----BEGIN PRIVATE KEY-----",
        "MONKEY": "bananas",
        "LOG_LEVEL": "debug",
        "FROM_OUTSIDE": "${SOMETHING}",
        "NOT_TEXT": 7,
    }
    declared = one({"command": sys.executable, "env": env})
    assert dict(declared.env) == {"MONKEY": "bananas", "LOG_LEVEL": "debug"}
    said = " ".join(declared.notes)
    for name in env.keys() - declared.env.keys():
        assert name in said
    for value in ("short", "hunter2", "ghp_0123456789abcdefghij", "PRIVATE KEY"):
        assert value not in said


def test_the_settings_refuse_a_secret_in_an_environment() -> None:
    for env in ({"API_KEY": "x"}, {"URL": "https://a:b@c/"}, {"A": "a\0b"}):
        with pytest.raises(ValueError, match=r"env\."):
            HandSettings.model_validate({"adapter": "mcp", "command": ["x"], "env": env})
    HandSettings.model_validate({"adapter": "mcp", "command": ["x"], "env": {"LEVEL": "debug"}})


def test_directories_are_bound_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = [str(tmp_path), f"--root={tmp_path}", "/", str(tmp_path / "file"), "relative", str(tmp_path / "none")]
    declared = one({"command": sys.executable, "args": words})
    assert declared.directories == (tmp_path,)
    assert any("writable" in note for note in declared.notes)


def test_what_the_client_let_pass_and_what_it_switched_off() -> None:
    declared = one({"command": sys.executable, "autoApprove": ["delete_all"], "disabled": True})
    assert not declared.enabled
    assert any("policies do" in note for note in declared.notes)


def test_a_server_with_a_url_is_a_hand_and_what_its_headers_hold_is_not_copied() -> None:
    entry = {
        "type": "http",
        "url": "https://${HOST:-mcp.example}/mcp?api_key=s3cr3t-in-query",
        "headers": {
            "Authorization": "Bearer s3cr3t-token",
            "X-Region": "s3cr3t-region",
            "Mcp-Session-Id": "s3cr3t-session",
            "Host": "s3cr3t-host",
            "a b": "s3cr3t-name",
        },
    }
    declared = one(entry, name="tracker")
    assert not declared.problem
    assert declared.url == "https://mcp.example/mcp"
    assert declared.listing == "tracker-tools.json"
    assert declared.secrets == {
        "tracker-api_key": {"place": "query", "parameter": "api_key"},
        "tracker-token": {"place": "bearer"},
        "tracker-x-region": {"place": "header", "parameter": "X-Region"},
    }
    assert "s3cr3t" not in repr(declared)
    assert sum("left out" in note for note in declared.notes) == 3
    HandSettings.model_validate(
        {"adapter": "mcp", "url": declared.url, "listing": declared.listing, "secrets": declared.secrets}
    )


LONG = "internal-tools-of-production-in-us-east-number"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("github", "Enterprise-Token"), ("github-enterprise", "Authorization")),
        ((f"{LONG}-1", "X-Key"), (f"{LONG}-2", "X-Key")),
        ((f"{LONG}-1", "Authorization"), (f"{LONG}-2", "Authorization")),
    ],
)
def test_what_is_kept_for_one_server_is_sent_to_no_other(first: tuple[str, str], second: tuple[str, str]) -> None:
    """A secret is found by its name: two servers with one name would both be sent what was meant for one of them."""
    servers = [
        Server(name, {"url": f"https://{number}.example/mcp", "headers": {header: "Bearer x"}})
        for number, (name, header) in enumerate((first, second))
    ]
    found = declare(servers)
    names = [name for declared in found for name in declared.secrets]
    assert len(names) == len(set(names)) == 2
    hands = {
        one.id: {"adapter": "mcp", "url": one.url, "listing": one.listing, "secrets": one.secrets} for one in found
    }
    Settings.model_validate({"hands": hands})


def test_a_basic_password_and_a_login_of_the_client_are_pointed_out() -> None:
    declared = one({"url": "https://a.example/mcp", "headers": {"Authorization": "Basic dTpw"}, "oauth": {}})
    assert declared.secrets == {}
    assert declared.listing is None
    assert any("place = 'basic'" in note for note in declared.notes)
    assert any("connection" in note for note in declared.notes)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://localhost:3000/mcp", True),
        ("http://127.0.0.1:3000/mcp", True),
        ("https://10.0.0.7/mcp", True),
        ("https://mcp.example/mcp", False),
        ("https://8.8.8.8/mcp", False),
    ],
)
def test_a_private_address_is_said_to_be_one(url: str, private: bool) -> None:
    assert one({"url": url}).private_network is private
