"""What an adapter says of a call reaches the policy as it is; what it cannot say is denied."""

from gateway.errors import Refused
from gateway.reasons import Reason
from tests.pipeline.house import House, step


async def test_the_policy_is_told_the_analysis_of_the_steps_that_have_one(house: House) -> None:
    house.hands.analyses["echo"] = {"kind": "sql", "reads": ["public.users"]}
    await house.plan(step("a"), step("b", action="write"))
    (seen,) = house.policy.inputs
    one, other = seen["steps"]
    assert one["analysis"] == {"kind": "sql", "reads": ["public.users"]}
    assert "analysis" not in other


async def test_a_step_that_cannot_be_analysed_is_denied_before_any_rule_is_asked(house: House) -> None:
    house.hands.analyses["echo"] = Refused(Reason.SCHEMA_ANALYSIS, "sql.many", problem="sql.many")
    view = await house.plan(step("a"))
    (only,) = view["steps"]
    assert (only["status"], only["error"]["code"]) == ("denied", "schema.analysis")
    assert only["error"]["problem"] == "sql.many"
    assert house.policy.inputs == []
    assert house.hands.calls == []
