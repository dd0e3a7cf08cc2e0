"""Writes corpus.json: plans drawn from the generators of test_differential, and what the embedded engine says of them.

``python -m tests.policy.record_corpus``. Read the difference before committing it: it is what changed for callers.
"""

import asyncio
import json
import warnings
from typing import Any

from tests.policy.generators import CORPUS, contexts, hands, moments, principals, request, steps
from tests.policy.support import SHIPPED, ask, embedded, spelled, step

CASES = 150
LATER = (
    step("read", "git", "git_status", repo_path="/repo"),
    step("write", "git", "git_commit", repo_path="/repo", message="m"),
)
"""Two steps of a plan that had earlier rounds ..."""
SPENT: list[Any] = [
    {"steps": 98, "changes": 9},
    {"steps": 98, "changes": 10},
    {"steps": 99, "changes": 0},
    {"steps": 5},
    {"steps": "5", "changes": 0},
    None,
]
"""... in which so much was spent, or which cannot be read."""

BODIES = ["It builds.", "Pay with 4111 1111 1111 1111.", "to DE89 3704 0044 0532 0130 00", "diagnosis: diabetes"]
STATEMENTS = ["SELECT 1", "DROP TABLE users", "DELETE FROM users", "SELECT 1; SELECT 2", "EXPLAIN SELECT 1"]
CHANGES = [
    {"verb": "update", "table": "public.orders", "where": where, "equals": ["id"] if where else [], "columns": []}
    for where in (True, False)
]
"""What an ``sql`` hand's adapter says of a statement that changes one row, and of one that changes every row."""
MAIL = {
    "region": "eu",
    "trust": "untrusted",
    "labels": ["external", "sql", "special:health"],
    "manifest_digest": "3" * 64,
    "actions": {
        "send": {"side_effects": "external", "idempotent": False, "args": {"/to": "recipient", "/body": "content"}},
        "query": {"side_effects": "none", "idempotent": True, "args": {"/sql": "content"}},
    },
}


def analysis(change: dict[str, Any]) -> dict[str, Any]:
    """Of a statement that changes one table and reads none."""
    return {"kind": "sql", "reads": [], "columns": [], "changes": [change]}


def drawn() -> list[dict[str, Any]]:
    """Hand-written plans first, then drawn ones that hold at least one step."""
    from hypothesis import strategies as st

    inputs = [
        ask(step("read", "git", "git_status", repo_path="/repo"), step("now", "time", "get_current_time")),
        ask(step("write", "git", "git_commit", repo_path="/repo", message="m")),
        ask(step("add", "git", "git_add", repo_path="/repo", files=["a", "b/c"])),
        ask(step("climb", "git", "git_add", repo_path="/repo", files=["../../etc/passwd"])),
        ask(step("out", "git", "git_log", repo_path="/etc")),
        ask(step("push", "git", "git_push", repo_path="/repo")),
        ask(*[step(f"s{n}", "git", "git_commit", repo_path="/repo") for n in range(11)]),
        ask(*[step(f"s{n}", "time", "get_current_time") for n in range(101)]),
        *(ask(step("send", "mail", "send", to="ann@example.com", body=body), hands={"mail": MAIL}) for body in BODIES),
        *(ask(step("query", "mail", "query", sql=sql), hands={"mail": MAIL}) for sql in STATEMENTS),
        *(
            ask({**step("change", "mail", "query", sql="..."), "analysis": analysis(change)}, hands={"mail": MAIL})
            for change in CHANGES
        ),
        *(ask(*LATER, context={**ask()["context"], "spent": spent}) for spent in SPENT),
    ]
    shape = st.tuples(steps, principals, hands, contexts, moments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while len(inputs) < CASES:
            taken, *around = shape.example()
            if taken:
                inputs.append(request(taken, *around))
    return inputs


async def main() -> None:
    """Record."""
    engine = await embedded(SHIPPED)
    cases = []
    for policy_input in drawn():
        decisions = await engine.decide(policy_input)
        cases.append({"input": policy_input, "said": spelled(decisions)})
    await engine.close()
    text = ",\n".join(json.dumps(case, sort_keys=True) for case in cases)
    CORPUS.write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
