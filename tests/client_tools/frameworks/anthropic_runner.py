"""The tool runner of the anthropic SDK, with the tools of docs/client-tools.md."""

import office
from anthropic import Anthropic, beta_tool

Anthropic(max_retries=0).beta.messages.tool_runner(
    model="claude-test",
    max_tokens=100,
    tools=[beta_tool(office.look_up), beta_tool(office.send)],
    messages=[{"role": "user", "content": "Write to Ann."}],
    thread=False,  # the stand-in holds no conversations
).until_done()
