"""JSON pointers as RFC 6901 has them."""

import pytest

from gateway.pointers import escape, pointer, tokens, unescape


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("foo", 0), "/foo/0"), (("",), "/"), (("a/b",), "/a~1b"), (("m~n",), "/m~0n"), (("~1",), "/~01")],
)
def test_the_examples_of_section_5(path: tuple[str | int, ...], text: str) -> None:
    assert pointer(path) == text
    assert tokens(text) == [str(part) for part in path]


@pytest.mark.parametrize("name", ["", "plain", "~", "/", "~/", "/~", "~0", "~1", "~~1/0"])
def test_every_name_survives(name: str) -> None:
    assert unescape(escape(name)) == name
    assert "/" not in escape(name)
