"""Policy inputs that hypothesis makes up, and where the recorded ones are."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.policy.support import GIT, ask, step

CORPUS = Path(__file__).with_name("corpus.json")
paths = st.one_of(
    st.sampled_from(
        [
            "/repo",
            "/repo/a",
            "/repo/",
            "/",
            "",
            "repo",
            "/repo/../etc",
            "/repo%2f..",
            "/repo\\x",
            "/repository",
            "/etc",
            "/repo//a",
            "/repo/./a",
            "~/x",
            "/repo/\u00e9",
            "/repo/a\u0000b",
            "/repo/a b",
            "/repo/\U0001f600",
            "\uff0frepo",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda text: f"/repo/{text}"),
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        [
            "AK" + "IA" + "B" * 16,
            "sk" + "-" + "a" * 24,
            "gh" + "p_" + "z" * 36,
            "-----BEGIN " + "PRIVATE KEY-----",
            "x" + "oxb-1234567890",
            "AKIA short",
            'quote " and \\ slash',
            "<undefined>",
        ]
    ),
)
numbers = st.integers(-(2**53), 2**53)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "repo_path": st.one_of(paths, values),
        "files": st.one_of(st.lists(paths, max_size=3), values),
        "message": texts,
        "more": values,
    },
)
urls = st.sampled_from(
    [
        "https://example.com/a?b=c",
        "http://169.254.169.254/latest",
        "https://user:pass@example.com",
        "https://0x7f000001/",
        "https://[::ffff:10.0.0.1]/",
        "https://EXAMPLE.com./",
        "https://xn--bcher-kva.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//example.com",
        "example.com",
        "",
    ]
)
contents = st.sampled_from(
    [
        "SELECT 1",
        "drop table users",
        "DELETE FROM users",
        "delete from users where id = 1; --",
        "UPDATE users /* x */ SET a = 1",
        "mail ann@example.com or call +49 151 23456789",
        "DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111",
        "diagnosis: diabetes",
    ]
)
amounts = st.one_of(st.integers(-5, 10**7), st.floats(allow_nan=False, allow_infinity=False, width=32), texts)
orders = st.fixed_dictionaries(
    {},
    optional={
        "to": st.one_of(st.sampled_from(["ann@example.com", "eve@evil.example", "DE89370400440532013000"]), values),
        "amount": amounts,
        "url": st.one_of(urls, values),
        "sql": st.one_of(contents, values),
        "more": values,
    },
)
SHOP: dict[str, Any] = {
    "shop": {
        "region": "us",
        "trust": "untrusted",
        "labels": ["personal-data"],
        "manifest_digest": "2" * 64,
        "actions": {
            "pay": {
                "side_effects": "external",
                "idempotent": False,
                "args": {"/to": "recipient", "/amount": "amount", "/url": "url"},
            },
            "query": {"side_effects": "none", "idempotent": True, "args": {"/sql": "content", "/url": "url"}},
            "undo": {"side_effects": "reversible", "idempotent": False, "args": {"/to": "account"}},
        },
    }
}
counts = st.one_of(st.fixed_dictionaries({"steps": numbers, "changes": numbers, "amount": amounts}), values)
spent = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"steps": st.integers(0, 120), "changes": st.integers(0, 12)},
        optional={
            "context": counts,
            "principal": st.fixed_dictionaries({}, optional={"minute": counts, "hour": counts, "day": counts}),
        },
    ),
)
history = st.lists(
    st.fixed_dictionaries(
        {
            "hand": st.sampled_from(["git", "shop"]),
            "action": st.sampled_from(["pay", "query", "git_commit"]),
            "effect": st.sampled_from(["allow", "ask", "deny"]),
            "side_effects": st.sampled_from(["none", "reversible", "irreversible", "external"]),
            "status": st.sampled_from(["succeeded", "failed", "held"]),
            "seconds_ago": st.integers(0, 10**6),
        }
    ),
    max_size=3,
)
taint = st.lists(
    st.fixed_dictionaries({"hand": st.sampled_from(["git", "shop"]), "action": texts, "trust": st.just("untrusted")}),
    max_size=2,
)
private = st.lists(
    st.sampled_from([{"hand": "git", "action": "git_log"}, {"hand": "shop", "action": "query"}]), max_size=1
)
contexts = st.fixed_dictionaries(
    {
        "data_region": st.sampled_from([None, "eu", "us", "xx"]),
        "taint": taint,
        "principal_taint": taint,
        "private": private,
        "spent": spent,
        "history": history,
    }
)
origins = st.lists(
    st.fixed_dictionaries(
        {
            "source": st.sampled_from(["request", "result", "operator", "approved", "new"]),
            "match": st.sampled_from(["exact", "normalised", "contained"]),
        },
        optional={"trust": st.sampled_from(["trusted", "untrusted"]), "hand": st.just("shop"), "step": st.just("s0")},
    ),
    max_size=2,
)
provenance = st.dictionaries(st.sampled_from(["/to", "/url", "/repo_path", "/amount"]), origins, max_size=2)
moments = st.sampled_from(
    ["2026-11-26T12:00:00Z", "2026-12-24T23:59:59Z", "2026-11-29T03:00:00Z", "tomorrow", 1_700_000_000]
)
actions = ["git_status", "git_log", "git_add", "git_commit", "git_reset", "git_push", "get_current_time", "erase"]
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["git", "time", "nowhere"]), st.sampled_from(actions), arguments, provenance),
        st.tuples(st.just("shop"), st.sampled_from(["pay", "query", "undo"]), orders, provenance),
    ),
    max_size=4,
)
principals = st.one_of(
    st.sampled_from([{"id": "bot", "roles": ["agent"]}, {"id": "alice", "roles": []}, {"id": "x"}, {}]),
    st.fixed_dictionaries({"id": texts, "roles": st.lists(st.sampled_from(["agent", "operator"]), max_size=2)}),
)
hands = st.sampled_from(
    [
        GIT | SHOP,
        GIT | {"shop": {**SHOP["shop"], "region": "eu", "trust": "trusted", "labels": []}},
        {},
        {"git": {**GIT["git"], "labels": []}},
        {"git": {"actions": {}}},
        {"git": {**GIT["git"], "labels": ["root:/", "root:/repo//", "root:relative"]}},
    ]
)


def request(taken: list[Any], principal: Any, known: Any, context: Any, now: Any) -> dict[str, Any]:
    return ask(
        *(
            step(f"s{n}", hand, action) | {"args": args, "provenance": came_from}
            for n, (hand, action, args, came_from) in enumerate(taken)
        ),
        principal=principal,
        hands=known,
        context=context,
        now=now,
    )
