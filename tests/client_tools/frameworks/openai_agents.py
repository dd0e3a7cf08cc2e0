"""The OpenAI Agents SDK with a model that is a script: prints what the model was told of each call."""

import asyncio
import json
import sys
from typing import Any

import office
from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, set_tracing_disabled
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

CALLS = [("look_up", {"name": "Ann"}), ("send", {"to": "Ann", "text": "Hello"})]


class Script(Model):
    """Calls one tool after the other, and then says that it is done."""

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:  # noqa: A002
        done = [item for item in input if isinstance(item, dict) and item.get("type") == "function_call_output"]
        if len(done) < len(CALLS):
            name, arguments = CALLS[len(done)]
            call = ResponseFunctionToolCall(
                name=name, arguments=json.dumps(arguments), call_id=f"call-{len(done)}", type="function_call"
            )
            return ModelResponse([call], Usage(), None)
        sys.stdout.write(json.dumps([item["output"] for item in done]))
        text = ResponseOutputText(text="Done.", type="output_text", annotations=[])
        said = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse([said], Usage(), None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("nobody streams here")


set_tracing_disabled(True)
clerk = Agent("clerk", tools=[function_tool(office.look_up), function_tool(office.send)], model=Script())
asyncio.run(Runner.run(clerk, "Write to Ann."))
