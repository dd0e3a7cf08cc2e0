"""The tool runner of the anthropic SDK, streaming, with the tools of docs/client-tools.md."""

import office
from anthropic import Anthropic, beta_tool

runner = Anthropic(max_retries=0).beta.messages.tool_runner(
    model="claude-test",
    max_tokens=100,
    tools=[beta_tool(office.look_up), beta_tool(office.send)],
    messages=[{"role": "user", "content": "Write to Ann."}],
    stream=True,
    thread=False,  # the stand-in holds no conversations
)
for stream in runner:
    for _ in stream:
        pass
