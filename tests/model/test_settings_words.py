"""What is wrong with a configuration is said in our words: where, and what to do."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from gateway.settings import Settings, SettingsError, load

LIBRARY = re.compile(r"Input|instance|valid dictionary|inputs|Field required|Value error")
URL = 'url = "https://example.com/hook"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[keys]\nstore = "database"', 'keys.store = "database" goes with a PostgreSQL database.url'),
        ("[webhooks.pager]\ntimeout_seconds = 5", "webhooks.pager: give url or url_file"),
        (f"[webhooks.pager]\n{URL}", "webhooks.pager: format = 'standard' needs secret_file"),
        ("[server]\nport = 99999", "server.port: it should be a number of at most 65535"),
        ("[server]\nlog_reads_burst = 0", "server.log_reads_burst: it should be a number of at least 1"),
        ("[nothing]\na = 1", "nothing: there is no such setting"),
        ("server = 7", "server: it should be a table"),
        ("hands = []", "hands: it should be a table"),
        ('[server]\nport = "http"', "server.port: it should be a whole number"),
        ('[telemetry]\nlog_level = "loud"', "telemetry.log_level: it should be one of: debug, info, warning, error"),
        ("[hands.X]", "hands.X.[key]: it should be a text that matches ^[a-z]"),
        ("[hands.x]", "hands.x.adapter: it must be given"),
    ],
)
def test_each_problem_is_named_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "handrail.toml"
    file.write_text(text + "\n")
    with pytest.raises(SettingsError) as refused:
        load(file)
    assert said in refused.value.detail
    assert "Value error" not in str(refused.value)
    assert ": : " not in str(refused.value), "what concerns several sections names none"


WRONG = ("{ x = [] }", "[[[]]]", '"\\u0007 "', "1.5", "-1", "true", "[1]")


def settings_of(model: type[BaseModel], *place: str) -> Iterator[tuple[str, ...]]:
    """Every setting, by its keys in the file; of tables by name those of one that is called ``x``."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        by_name = get_origin(field.annotation) is dict and inner
        yield (*place, name)
        for kind in inner:
            yield from settings_of(kind, *place, name, *(("x",) if by_name else ()))


@pytest.mark.parametrize("place", list(settings_of(Settings)), ids=".".join)
def test_no_setting_of_a_wrong_kind_is_said_in_the_library_s_words(tmp_path: Path, place: tuple[str, ...]) -> None:
    file = tmp_path / "handrail.toml"
    said = []
    for value in WRONG:
        file.write_text(f"{'.'.join(place)} = {value}\n")
        with suppress(SettingsError):
            load(file)
            continue
        with pytest.raises(SettingsError) as refused:
            load(file)
        said.append(refused.value.detail)
    assert said, "nothing of this is right"
    assert [words for words in said if LIBRARY.search(words)] == []
