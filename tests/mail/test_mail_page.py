"""What docs/mail.md shows is what there is, and so is what docs/http.md shows of webhooks."""

import base64
import json
import re
import tomllib
from pathlib import Path

from gateway.settings import HandSettings
from hand_adapters.mail import MailAdapter
from hand_adapters.mail.declaration import args_schema
from hand_adapters.mail.problems import Problem
from hand_adapters.webhook import WebhookAdapter

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "mail.md").read_text(encoding="utf-8")
HTTP = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_declaration_can_be_used_and_its_analysis_is_the_one_that_is_shown() -> None:
    settings = HandSettings(**tomllib.loads(blocks("toml")[0])["hands"]["mail"])
    MailAdapter.validate("mail", settings)
    adapter = MailAdapter("mail", settings, None)  # type: ignore[arg-type]
    (shown,) = map(json.loads, blocks("json"))
    args = {
        "to": ["ann@example.com"],
        "bcc": ["support@partner.example"],
        "subject": "Invoice",
        "text": "Yours is attached.\n\n",
        "attachments": [{"name": "may.pdf", "content": base64.b64encode(b"%PDF").decode()}],
    }
    assert adapter.analyse("send", args) == shown


def test_every_argument_and_every_problem_is_named() -> None:
    settings = HandSettings(**tomllib.loads(blocks("toml")[0])["hands"]["mail"])
    assert settings.mail is not None
    whole = settings.mail.model_copy(update={"senders": ("a@example.com", "b@example.com"), "html": True})
    named = set(re.findall(r"`([a-z_.]+)`", PAGE))
    assert args_schema(whole)["properties"].keys() <= named
    assert {str(problem) for problem in Problem} <= named


def test_the_webhook_can_be_used() -> None:
    (shown,) = [one for one in blocks("toml", HTTP) if 'adapter = "webhook"' in one]
    WebhookAdapter.validate("oncall", HandSettings(**tomllib.loads(shown)["hands"]["oncall"]))
