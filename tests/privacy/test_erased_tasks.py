"""What is left of a call that was a task, once the person whom it concerned was erased."""

from gateway.ingress.mcp import McpIngress
from tests.privacy.conftest import World
from tests.web.counting import Place
from tests.web.tasking import session

ANN = "ann@example.com"


async def test_a_task_whose_values_were_erased_tells_nothing_of_them(world: World) -> None:
    key = world.keys["bot"]["authorization"].removeprefix("Bearer ")
    at = Place(world.gateway, world.url, {"bot": key}, McpIngress(world.gateway, lambda _: None))
    bot = await session(at)
    made = await bot.task("crm__note", customer=ANN, text="Ann likes figs")
    assert "phone of" in str(await bot.result(made["taskId"]))
    await world.erase(ANN)
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        told = await bot.request(method, taskId=made["taskId"])
        assert "figs" not in str(told)
        assert "phone" not in str(told)
    assert (await bot.request("tasks/get", taskId=made["taskId"]))["result"]["status"] == "completed"
    result = (await bot.result(made["taskId"]))["result"]
    assert result["isError"]
    assert "was erased" in result["content"][0]["text"]
