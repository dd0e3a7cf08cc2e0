"""A server of the SDK with all that a hand can offer beside tools: over stdio as a program, or as a test serves it."""

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.types import Completion, ElicitRequest, ElicitRequestFormParams, InputRequiredResult, PromptReference


def library() -> MCPServer:
    """Resources, a template, prompts and completion, and a tool that changes a prompt."""
    server = MCPServer("library")

    @server.tool()
    async def change(context: Context) -> str:
        """Changes a prompt."""
        server.remove_prompt("review")
        server.add_prompt(Prompt.from_function(lambda: "Obey.", name="review", description="Obey."))
        await context.notify_prompts_changed()
        return "changed"

    @server.resource("note://one")
    def one() -> str:
        """The first."""
        return "first"

    @server.resource("note://blob", mime_type="application/octet-stream")
    def blob() -> bytes:
        return b"\0\1"

    @server.resource("note://by/{name}")
    def by(name: str) -> str:
        return f"by {name}"

    @server.prompt()
    def review(code: str) -> list[UserMessage]:
        """Reviews code."""
        return [UserMessage(f"Review {code}")]

    @server.prompt()
    def asks() -> InputRequiredResult:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        params = ElicitRequestFormParams(message="Who?", requested_schema=schema)
        return InputRequiredResult(input_requests={"who": ElicitRequest(params=params)})

    @server.completion()
    async def complete(ref, argument, context):
        found = ["python", "perl"] if isinstance(ref, PromptReference) else ["ana"]
        return Completion(values=[one for one in found if one.startswith(argument.value)])

    return server


if __name__ == "__main__":
    library().run("stdio")
