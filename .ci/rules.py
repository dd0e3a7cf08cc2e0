"""Write docs/rules.md: every shipped rule, what it does by default, its data, its codes, severity and controls.

All of it is read from policies/handrail: the metadata of each package, the codes and messages in its source, its
data.json and the schema beside it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
RULES: Final = ROOT / "policies" / "handrail"
TARGET: Final = ROOT / "docs" / "rules.md"
_MEMBERS_SHOWN: Final = 3
_TEXT_SHOWN: Final = 60

INTRODUCTION = """\
# Shipped rules

<!-- Written by `make docs` from policies/handrail; do not edit. -->

What the policies that come with Handrail say, for who writes policies and for who buys them. How rules are written,
tested and changed is in [policies](policies.md). Each step hears every rule that concerns it; deny beats ask beats
allow, only `grants` allows, and a step that nobody allows is denied.

A rule is *on* where it judges with the data that is shipped, and *silent* where it needs data, a label or a setting
first. The data of a rule is `policies/handrail/RULE/data.json`; a bundle whose data is off the schema beside it is
refused. A reason names its code and a sentence for the agent; neither repeats a value. Controls are identifiers of
catalogues, mapped by us: evidence and not a legal opinion. What no rule sees is in the [threat model](threat-model.md).

| rule | by default | severity | codes |
|---|---|---|---|
"""

DEFAULTS: Final[Mapping[str, str]] = {
    "amounts": "on for the role `amount`; no limits",
    "arguments": "silent: no lines",
    "budgets": "silent: no budgets",
    "grants": "on: agents may read, and use git as the demonstration does",
    "hosts": "on for the role `url`; any public host",
    "limits": "on: 100 steps and 10 changes a plan",
    "paths": "on for the role `path`",
    "personal_data": "on for what leaves the organisation: card, account and national numbers ask",
    "provenance": "on for the roles `recipient`, `url`, `account` and `content`",
    "rates": "silent: no rates",
    "secrets": "on",
    "separation": "silent: no conflicts",
    "side_effects": "on: changes ask, external ones need a grant that says so",
    "special_categories": "on for labels `special:` and for what leaves the organisation",
    "sql": "on for hands labelled `sql`",
    "statements": "on for hands of the adapter `sql`; no tables listed",
    "tokens": "silent: no limits",
    "transfers": "silent until `policy.data_region` is set",
    "windows": "silent: no windows and freezes",
}
"""Rule -> what it does with the shipped data; a rule that is missing here fails the test of this page."""


def rules() -> list[Path]:
    """The source of every rule that decides, in alphabetical order."""
    sources = (path / f"{path.name}.rego" for path in sorted(RULES.iterdir()) if path.is_dir())
    return [source for source in sources if "\ndecisions contains" in source.read_text(encoding="utf-8")]


def metadata(source: Path) -> dict[str, Any]:
    """The metadata of a rule's package."""
    block, _, _ = source.read_text(encoding="utf-8").partition("\npackage ")
    return dict(yaml.safe_load("\n".join(line[2:] for line in block.splitlines() if line != "# METADATA")))


def codes(source: Path) -> dict[str, str]:
    """Code -> what the agent reads with it, ``...`` for what is filled in; ``""`` where the source does not say it."""
    text = source.read_text(encoding="utf-8")
    name = source.stem
    found = dict.fromkeys(sorted(set(re.findall(rf'"({name}\.[a-z_]+)"', text))), "")
    found.pop("hosts.fine", None)
    found.pop("transfers.fine", None)
    for standing in ("untrusted", "mentioned") if name == "provenance" else ():
        found.setdefault(f"provenance.{standing}", "")
    pairs = [
        *re.findall(r'"([a-z_]+\.[a-z_]+)":\s*"([^"]+)"', text),
        *re.findall(r'"([a-z_]+\.[a-z_]+)":\s*\{[^}]*?"message":\s*"([^"]+)"', text),
        *re.findall(r'"code":\s*"([a-z_]+\.[a-z_]+)",\s*"message":\s*(?:sprintf\(\s*)?"([^"]+)"', text),
    ]
    for code, words in pairs:
        if code in found and words not in {"deny", "ask", "allow"}:
            found[code] = found[code] or words
    templates = re.findall(r'"message":\s*sprintf\(\s*"([^"]+)"', text)
    return {code: _sentence(words, templates) for code, words in found.items()}


def _sentence(words: str, templates: list[str]) -> str:
    """A message as it is read: the rule's template where it is said in parts."""
    if not words and templates:
        words = templates[0]
    elif words[:1].islower() and templates:
        words = templates[0].replace("%v", "...", 1).replace("%v", words, 1)
    return words.replace("%v", "...").replace("....", "...")


def document() -> str:
    """The page."""
    rows, sections = [], []
    for source in rules():
        said, given = metadata(source), codes(source)
        severity = said["custom"]["severity"]
        rows.append(f"| [{source.stem}](#{source.stem}) | {DEFAULTS[source.stem]} | {severity} | {len(given)} |")
        sections.append(_section(source, said, given))
    return INTRODUCTION + "\n".join(rows) + "\n\n" + "\n".join(sections)


def _section(source: Path, said: Mapping[str, Any], given: Mapping[str, str]) -> str:
    name = source.stem
    lines = [f"## {name}", "", f"**{said['title']}.** {' '.join(said['description'].split())}", ""]
    lines += [f"- By default: {DEFAULTS[name]}.", f"- Severity: {said['custom']['severity']}."]
    lines += [f"- Controls: {', '.join(f'`{control}`' for control in said['custom']['controls'])}.", ""]
    lines += ["| code | the agent reads |", "|---|---|"]
    lines += [f"| `{code}` | {words} |" for code, words in given.items()]
    schema = source.with_name("data.schema.json")
    if schema.exists():
        lines += ["", "| data | is | shipped |", "|---|---|---|"]
        lines += list(_data(json.loads(schema.read_text()), json.loads(source.with_name("data.json").read_text())))
    return "\n".join([*lines, ""])


def _data(schema: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    for name, described in schema["properties"].items():
        words = described.get("description") or schema.get("title", "")
        yield f"| `{name}` | {words} | {_shown(data[name])} |".replace("|  |", "| |")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list) and len(value) > _MEMBERS_SHOWN:
        return f"{len(value)} members"
    if isinstance(value, str) and len(value) > _TEXT_SHOWN:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _TEXT_SHOWN else f"{len(value)} members"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
