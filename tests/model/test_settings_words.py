"""What is wrong with a configuration is said in our words: where, and what to do."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load

URL = 'url = "https://example.com/hook"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[keys]\nstore = "database"', 'keys.store = "database" goes with a PostgreSQL database.url'),
        ("[webhooks.pager]\ntimeout_seconds = 5", "webhooks.pager: give url or url_file"),
        (f"[webhooks.pager]\n{URL}", "webhooks.pager: format = 'standard' needs secret_file"),
        ("[server]\nport = 99999", "server.port: Input should be less than or equal to 65535"),
        ("[server]\nlog_reads_burst = 0", "server.log_reads_burst: Input should be greater than or equal to 1"),
        ("[nothing]\na = 1", "nothing: Extra inputs are not permitted"),
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
