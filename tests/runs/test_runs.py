"""A run from its prompt to its end, against the stand-in of the Messages API, through the whole gateway."""

from tests.anthropic_api.blocks import message, tool_use
from tests.runs.world import World, sent


async def test_a_run_asks_calls_in_parallel_and_says_what_the_model_said(here: World) -> None:
    here.api.script(
        message(
            "I look.",
            tool_use("desk__look", {"text": "left"}, "a"),
            tool_use("desk__look", {"text": "right"}, "b"),
        ),
        message("Nothing there."),
    )
    view = await here.run()
    assert (view["status"], view.get("text"), view.get("error")) == ("done", "Nothing there.", None), view
    assert view["steps"] == 4
    assert view["tokens"] == 34
    assert [turn["kind"] for turn in view["turns"]] == ["model", "tools", "model"]
    assert sorted(body["text"] for _, body in here.desk.calls) == ["left", "right"]
    assert here.count("PLNRCV") == 3
    calls = await here.json("GET", f"/v1/plans/{view['turns'][1]['plan_id']}")
    assert [step["status"] for step in calls["steps"]] == ["succeeded", "succeeded"]
    results = sent(here.api)["messages"][-1]["content"]
    assert [(one["type"], one["tool_use_id"]) for one in results] == [("tool_result", "a"), ("tool_result", "b")]
    assert all(one["content"][0]["text"].startswith("<handrail-data ") for one in results)
    assert "is_error" not in results[0]
