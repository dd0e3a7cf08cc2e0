"""The OpenAI Agents SDK, streaming, with a model that is a script: prints what the model was told of each call.
``openai_agents.py CALLS``: the calls of each of its answers, as JSON: ``[[[NAME, ARGUMENTS], ...], ...]``."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import office
from agents import Agent, Model, ModelResponse, Runner, function_tool, set_tracing_disabled
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

ANSWERS: list[list[tuple[str, dict[str, Any]]]] = json.loads(sys.argv[1])


class Script(Model):
    """Calls tools as its script says, and then says that it is done."""

    answered = 0

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError("everybody streams here")

    async def stream_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:  # noqa: A002
        output: list[Any] = [
            ResponseFunctionToolCall(
                name=name, arguments=json.dumps(arguments), call_id=f"{name}-{n}", type="function_call"
            )
            for n, (name, arguments) in enumerate(ANSWERS[self.answered] if self.answered < len(ANSWERS) else ())
        ]
        self.answered += 1
        if not output:
            done = [item for item in input if isinstance(item, dict) and item.get("type") == "function_call_output"]
            sys.stdout.write(json.dumps([item["output"] for item in done]))
            text = ResponseOutputText(text="Done.", type="output_text", annotations=[])
            output = [
                ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
            ]
        response = Response(
            id=f"r{self.answered}",
            created_at=0,
            model="script",
            object="response",
            output=output,
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        yield ResponseCompletedEvent(response=response, sequence_number=self.answered, type="response.completed")


async def main() -> None:
    clerk = Agent("clerk", tools=[function_tool(office.look_up), function_tool(office.send)], model=Script())
    async for _ in Runner.run_streamed(clerk, "Write to Ann.").stream_events():
        pass


set_tracing_disabled(True)
asyncio.run(main())
