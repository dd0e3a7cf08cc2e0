"""The page about objectives: its declaration on a real gateway, its commands, and its rules on the metrics that are."""

import json
import re
import shlex
from pathlib import Path

import yaml

from gateway.telemetry import Metrics
from tests.cli import real
from tests.cli.real import CONFIG
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "slo.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = [shlex.split(line)[2:] for line in BLOCKS["console"].splitlines()]


def submit(home: Path) -> None:
    action = {"id": "s", "hand": "git", "action": "git_status", "args": {}}
    (home / "plan.json").write_text(json.dumps({"context_id": "c", "actions": [action]}))
    token = real.invoke(home, "plan", "sign", "--as", "ada", str(home / "plan.json")).stdout
    sent = real.invoke(home, "plan", "submit", "-", "--wait", "30", "--as", "ada", "--json", stdin=token)
    assert json.loads(sent.stdout)["steps"][0]["status"] == "succeeded", sent.output


def test_the_declaration_is_pinned_and_the_commands_say_how_the_hand_does(tmp_path: Path) -> None:
    people = {"ada": "agent", "op": "operator"}
    with real.gateway(tmp_path, CONFIG + BLOCKS["toml"], people, signer="ada", issuer="ada-laptop") as home:
        submit(home)
        for words in COMMANDS:
            done = real.invoke(home, *words, "--as", "op")
            assert done.exit_code == 0, done.output
            assert "100 % of 99.5 %" in done.stdout
            assert "100 % of 95 % within 2 s" in done.stdout
            assert done.stdout.split("\n")[0].split()[-1] == "objective"
            assert done.stdout.split("\n")[1].split()[-1] == "kept"
        [hand] = json.loads(real.invoke(home, *COMMANDS[0], "--as", "op", "--json").stdout)["hands"]
        assert (hand["measured"]["calls"], hand["measured"]["budget_left"]) == (1, 1.0)
        none = real.invoke(home, "hands", "slo", "nowhere", "--as", "op")
        assert none.exit_code != 0
        assert "no pinned hand with objectives" in none.output


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    rules = [rule for group in yaml.safe_load(BLOCKS["yaml"])["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == ["HandBurnsItsBudget", "HandIsSlow"]
    asked = set(re.findall(r"handrail_\w+", " ".join(rule["expr"] for rule in rules)))
    there = {sample for family in Metrics().registry.collect() for sample in (family.name, f"{family.name}_total")}
    assert asked <= there
    assert {"handrail_hand_calls_total", "handrail_hand_objective"} == asked
