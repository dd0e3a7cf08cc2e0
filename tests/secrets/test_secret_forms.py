"""By what keys and tokens are known: alike in what may be configured and in what leaves in a request."""

import pytest

from gateway.personal_data import SECRET_KIND, Scanner, taken_out
from gateway.settings import holds_a_secret

REST = "aB3" * 14
TOKENS = [
    *(f"{prefix}{REST}" for prefix in ("ghp_", "github_pat_", "glpat-", "xoxb-", "sk-ant-", "sk-proj-", "sk_live_")),
    *(f"{prefix}{REST}" for prefix in ("rk_live_", "npm_", "pypi-", "hf_", "hr_")),
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"AIza{REST[:35]}",
    "https://ann:pass@host.example/x",
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:6])
def test_what_may_not_be_configured_in_the_clear_does_not_leave_either(token: str) -> None:
    assert holds_a_secret("WORD", f"is {token}")
    request = {"messages": [{"role": "user", "content": f"is {token}"}]}
    assert taken_out(request, Scanner(), [SECRET_KIND]) is not request


@pytest.mark.parametrize(
    "word", ["hr_department", "shelf_of_books_and_more", "math_hf_", "AIza", "sk-", "three_of_four_words"]
)
def test_words_are_no_tokens(word: str) -> None:
    assert not holds_a_secret("WORD", word)
    request = {"messages": [{"role": "user", "content": word}]}
    assert taken_out(request, Scanner(), [SECRET_KIND]) is request


@pytest.mark.parametrize("before", ["\\n", "\\t", "TOKEN_", "\n", "'", "="])
def test_a_token_is_found_behind_an_escape_and_behind_a_name(before: str) -> None:
    request = {"messages": [{"role": "user", "content": f'{{"out":"$ cat t{before}ghp_{REST}"}}'}]}
    assert REST not in str(taken_out(request, Scanner(), [SECRET_KIND]))


def test_a_member_that_is_called_like_a_token_is_not_there_any_more() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}], f"ghp_{REST}": 1}
    found = taken_out(request, Scanner(), [SECRET_KIND])
    assert list(found) == ["model", "messages", "[redacted: secret]"]
