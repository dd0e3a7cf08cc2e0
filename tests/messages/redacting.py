"""Rules that want something taken out of requests to models."""

from pathlib import Path

RULE = """
# METADATA
# title: Requests to models go without these
decisions contains decision if {{
	some step in input.steps
	{condition}
	decision := {{
		"step": step.id,
		"effect": "{effect}",
		"reasons": [{{"code": "requests.rule", "message": "Said of requests."}}],
		"obligations": {obligations},
	}}
}}
"""
PACKAGE = """\
# METADATA
# title: What is told to models
package handrail.requests
"""
TOLD = 'step.action in {"model.messages", "model.count_tokens", "batches.create"}'


def rule(kinds: str = '["secret", "email"]', condition: str = TOLD, effect: str = "allow") -> str:
    return RULE.format(obligations=f'{{"redact_request": {kinds}}}', condition=condition, effect=effect)


def with_rules(directory: Path, *rules: str) -> None:
    """Put rules beside those of a bundle's directory."""
    (directory / "handrail" / "requests").mkdir()
    (directory / "handrail" / "requests" / "requests.rego").write_text(PACKAGE + "".join(rules))
    with (directory / "handrail" / "decisions.rego").open("a") as decisions:
        decisions.write("\ndecisions contains decision if some decision in data.handrail.requests.decisions\n")
