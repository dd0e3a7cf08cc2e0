"""No argument becomes an option, a second argument, a line of its own, or nothing at all."""

from typing import Any

import pytest

from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError
from hand_adapters.contract import HandError
from hand_adapters.process import ProcessAdapter
from hand_adapters.process.command import COMMAND_MAX_BYTES, Command
from tests.jail.adapters.support import NOT_EXECUTED, schema

TEXTS = {"type": "array", "items": {"type": "string"}}


def command(*argv: Any, args: dict[str, Any] | None = None, **word: Any) -> Command:
    given = args if args is not None else schema("v", v="string")
    return Command("argv", ActionSettings(argv=("tool", *argv), args_schema=given, **word))


def misfit(made: Command, **args: Any) -> str:
    with pytest.raises(HandError) as caught:
        made.build(args)
    assert (caught.value.reason, caught.value.failure) == (Reason.SCHEMA_ARGS, NOT_EXECUTED)
    assert caught.value.facts["pointer"] in {f"/{name}" for name in args} | {""}
    return caught.value.detail


def test_a_value_is_one_argument_whatever_a_shell_would_make_of_it() -> None:
    for value in ("a b", "$(id)", "`id`", ";rm -rf /", "'\"", "*", "~", "a\\b", "é→𝄞", "%s", "{v}", "{0.__class__}"):
        assert command("{v}").build({"v": value}) == ("tool", value)
        assert command("x={v}.txt").build({"v": value}) == ("tool", f"x={value}.txt")


@pytest.mark.parametrize("value", ["-", "-x", "--output=/etc/passwd", "-oProxyCommand=id", "--"])
def test_a_value_that_would_be_an_option_is_refused_but_behind_the_end_of_options(value: str) -> None:
    assert "option" in misfit(command("{v}"), v=value)
    assert "option" in misfit(command("-o", "{v}"), v=value)
    assert "option" in misfit(command("{v}/tail"), v=value)
    assert "option" in misfit(command("--", "-o", args=schema()) and command("{v}", "--"), v=value)
    assert command("--", "{v}").build({"v": value}) == ("tool", "--", value)
    assert command("--opt={v}").build({"v": value}) == ("tool", f"--opt={value}")


def test_a_negative_number_is_an_option_too() -> None:
    made = command("{v}", args=schema("v", v="number"))
    assert "option" in misfit(made, v=-1)
    assert made.build({"v": 1.5}) == ("tool", "1.5")
    assert command("-n{v}", args=schema("v", v="integer")).build({"v": -1}) == ("tool", "-n-1")


def test_the_end_of_options_in_an_inner_list_holds_for_that_list_alone() -> None:
    given = schema("v", v="string", w="string")
    made = command(("--", "{w}"), "{v}", args=given)
    assert "option" in misfit(made, v="-x")
    assert "option" in misfit(made, v="-x", w="y")
    assert made.build({"v": "x", "w": "-y"}) == ("tool", "--", "-y", "x")


@pytest.mark.parametrize("value", ["\0", "a\0b", "a\nb", "a\rb", "a\tb", "\x1b[2J", "\x7f"])
def test_control_characters_are_refused(value: str) -> None:
    assert "control" in misfit(command("--", "{v}"), v=value)


def test_lines_are_let_through_where_they_are_declared_and_nothing_else_is() -> None:
    made = command("--", "{v}", multiline=("v",))
    assert made.build({"v": "a\n\tb"}) == ("tool", "--", "a\n\tb")
    for value in ("\0", "\r", "\x1b"):
        assert "control" in misfit(made, v=value)


def test_text_that_has_no_utf8_is_refused() -> None:
    assert "UTF-8" in misfit(command("{v}"), v="\ud800")


def test_an_empty_argument_is_refused_and_an_empty_value_of_an_option_is_not() -> None:
    assert "empty" in misfit(command("{v}"), v="")
    assert "empty" in misfit(command("--", "{v}"), v="")
    assert command("--opt={v}").build({"v": ""}) == ("tool", "--opt=")


def test_arrays_become_several_arguments_each_held_to_the_same_rules() -> None:
    made = command("{v}", args=schema("v", v=TEXTS))
    assert made.build({"v": ["a", "b c"]}) == ("tool", "a", "b c")
    assert made.build({"v": []}) == ("tool",)
    for bad in (["a", "-x"], ["a", ""], ["a\0"]):
        misfit(made, v=bad)
    named = command("--include={v}", args=schema("v", v=TEXTS))
    assert named.build({"v": ["a", "-b"]}) == ("tool", "--include=a", "--include=-b")


def test_an_inner_list_is_there_only_with_all_of_its_arguments() -> None:
    made = command(("--from={a}", "--to={b}"), args=schema(a="string", b=TEXTS))
    assert made.build({}) == made.build({"a": "x"}) == made.build({"a": None, "b": ["y"]}) == ("tool",)
    assert made.build({"a": "x", "b": []}) == ("tool",)
    assert made.build({"a": "x", "b": ["y"]}) == ("tool", "--from=x", "--to=y")


def test_braces_can_be_written() -> None:
    assert command("{{.{v}}}").build({"v": "name"}) == ("tool", "{.name}")


def test_booleans_and_whole_numbers_are_written_as_json_writes_them() -> None:
    made = command("{v}", args=schema("v", v={"type": ["boolean", "integer", "number"]}))
    assert [made.build({"v": value})[1] for value in (True, False, 7, 7.0)] == ["true", "false", "7", "7"]


def test_a_command_line_has_a_length() -> None:
    assert "long" in misfit(command("{v}"), v="é" * (COMMAND_MAX_BYTES // 2))


def test_files_stand_for_their_paths() -> None:
    made = command("{v}", "{out}", input_files={"v": "in.txt"}, output_files={"out": {"name": "out.json"}})
    assert made.build({"v": "-anything\0"}) == ("tool", "/scratch/in.txt", "/scratch/out.json")


@pytest.mark.parametrize(
    ("argv", "word", "args", "said"),
    [
        ((), {"argv": ()}, schema(), "program"),
        ((), {"argv": ("{v}",)}, schema("v", v="string"), "program"),
        ((), {"argv": (("tool",),)}, schema(), "program"),
        (("{w}",), {}, schema("v", v="string"), "no declared property"),
        (("{v}",), {}, schema(v="string"), "absent"),
        (("{v}",), {}, schema("v", v={"type": ["string", "null"]}), "absent"),
        (("{v}",), {}, schema("v", v="object"), "scalar"),
        (("{v}",), {}, schema("v", v={}), "scalar"),
        (("{v}",), {}, schema("v", v={"type": "array", "items": {"type": "object"}}), "scalar"),
        (("{v}{v}",), {}, schema("v", v=TEXTS), "scalar"),
        (("{v",), {}, schema("v", v="string"), "brace"),
        (("v}",), {}, schema("v", v="string"), "brace"),
        (("{}",), {}, schema("v", v="string"), "brace"),
        (("-{v}",), {}, schema("v", v="string"), "option"),
        (("--{v}",), {}, schema("v", v="string"), "option"),
        ((("fixed",),), {}, schema(), "inner list"),
        ((), {}, schema("v", v="string"), "not used"),
        (("{v}",), {}, {**schema("v", v="string"), "additionalProperties": True}, "undeclared"),
        (("{v}",), {"stdin": "w"}, schema("v", v="string"), "no declared property"),
        (("{v}",), {"multiline": ("w",)}, schema("v", v="string"), "multiline"),
        (("{v}",), {"output_files": {"v": {"name": "x"}}}, schema("v", v="string"), "name of an argument"),
        (
            ("{v}", "{w}"),
            {"input_files": {"v": "x"}, "output_files": {"w": {"name": "x"}}},
            schema("v", v="string"),
            "one name",
        ),
    ],
)
def test_a_command_line_that_a_value_could_bend_is_not_declared(
    argv: tuple[Any, ...], word: dict[str, Any], args: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Command("argv", ActionSettings(**{"argv": ("tool", *argv), "args_schema": args, **word}))
    assert said in caught.value.detail


@pytest.mark.parametrize(
    "argv",
    [
        ("sh", "-c", "echo {v}"),
        ("/bin/bash", "-lc", "git log {v}"),
        ("bash", "-e", "-o", "-c", "git log {v}"),
        ("bash", "-c", "-x", "--", "{v};ls"),
        ("fish", "--command={v}"),
        ("env", "A=b", "dash", "-ec", "{v} >&2"),
        ("timeout", "5", "/usr/bin/zsh", "-c", "x={v}"),
        ("sh", ("-c", "'{v}'")),
        ("bash", "-euo", "pipefail", "-c", "grep {v} /data/words | head"),
        ("bash", "-O", "extglob", "-c", "ls {v}"),
        ("bash", "--rcfile", "/dev/null", "-c", "ls {v}"),
        ("timeout", "5", "bash", "+o", "posix", "-c", "ls {v}"),
        ("env", "-S", "sh -c 'ls {v}'"),
        ("env", "--split-string=ls {v}"),
        ("su", "-c", "ls {v}"),
        ("/usr/bin/bash-static", "-c", "ls {v}"),
        ("pwsh", "-Command", "ls {v}"),
        ("busybox", "sh", "-c", "ls {v}"),
        ("sh", "/tools/it.sh", "-c", "x{v}"),
        ("python3.11", "-I", "-c", "print({v})"),
        ("perl", "-ne", "print if /{v}/"),
        ("node", "--eval", "console.log({v})"),
        ("php", "-r", "echo {v};"),
    ],
    ids=str,
)
def test_no_value_is_put_among_what_a_shell_reads(argv: tuple[Any, ...]) -> None:
    with pytest.raises(SettingsError, match="would read the value as code"):
        Command("argv", ActionSettings(argv=argv, args_schema=schema("v", v="string")))


@pytest.mark.parametrize(
    "argv",
    [
        ("sh", "-c", 'git log -- "$1"', "sh", "{v}"),
        ("sh", "/tools/it.sh", "{v}"),
        ("sh", "/tools/it.sh", "--", "x{v}"),
        ("python3", "-c", "import sys; print(sys.argv[1])", "x{v}"),
        ("env", "-i", "grep", "x{v}"),
        ("grep", "-c", "--", "{v}", "/data/words"),
    ],
    ids=str,
)
def test_a_value_beside_what_a_shell_reads_is_an_argument(argv: tuple[Any, ...]) -> None:
    made = Command("argv", ActionSettings(argv=argv, args_schema=schema("v", v="string")))
    assert made.build({"v": "$(id)"})[-1].removeprefix("x") in {"$(id)", "/data/words"}


def test_a_hand_that_is_a_shell_is_declared_as_one() -> None:
    made = Command("argv", ActionSettings(argv=("sh", "-c", "{v}"), args_schema=schema("v", v="string")))
    assert made.build({"v": "id; ls"}) == ("sh", "-c", "id; ls")


def test_a_file_that_a_shell_reads_has_a_path_that_no_value_says() -> None:
    word = {"input_files": {"v": "in.txt"}, "args_schema": schema("v", v="string")}
    made = Command("argv", ActionSettings(argv=("sh", "-c", "wc -l < {v}"), **word))
    assert made.build({"v": "$(id)"}) == ("sh", "-c", "wc -l < /scratch/in.txt")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"jail_profile": "none"}, "jail_profile"),
        ({"binds": ({"source": "/no/such/place"},)}, "binds"),
        ({"actions": {"a": {"argv": ("true",), "args_schema": schema(), "ok_statuses": (0, 137)}}}, "ok_statuses"),
        ({"actions": {"a": {"argv": ("true",), "args_schema": {"$ref": "http://x"}}}}, "schema"),
        ({"actions": {"a": {"argv": ("/work/link/../tool",), "args_schema": schema()}}}, "goes up"),
        ({"actions": {"a": {"argv": ("sh", "/work/link/../it.sh"), "args_schema": schema()}}}, "goes up"),
        ({"actions": {"a": {"argv": ("sh", "--rules=/work/../rules"), "args_schema": schema()}}}, "goes up"),
    ],
)
def test_a_process_hand_is_checked_before_it_is_used(more: dict[str, Any], said: str) -> None:
    word = {"a": {"argv": ("true",), "args_schema": schema()}}
    with pytest.raises(SettingsError) as caught:
        ProcessAdapter.validate("h", HandSettings(**{"adapter": "process", "actions": word, **more}))
    assert said in caught.value.detail


def test_no_secret_enters_a_jail() -> None:
    with pytest.raises(ValueError, match="no secret"):
        HandSettings(
            adapter="process",
            actions={"a": {"argv": ("true",), "args_schema": schema()}},
            secrets={"s": {"store": "sealed", "place": "bearer", "targets": ("https://a.example",)}},
        )
