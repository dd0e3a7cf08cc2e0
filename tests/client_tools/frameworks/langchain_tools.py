"""Tools of LangChain, called by a model that is a script: prints what the model was told of each call."""

import json
import sys

import office
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool

TOOLS = {one.name: one for one in (tool(office.look_up), tool(office.send))}
CALLS = (("look_up", {"name": "Ann"}), ("send", {"to": "Ann", "text": "Hello"}))
answers = [
    AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call-{number}"}])
    for number, (name, args) in enumerate(CALLS)
]
model = GenericFakeChatModel(messages=iter([*answers, AIMessage("Done.")]))
messages: list[BaseMessage] = [HumanMessage("Write to Ann.")]
while True:
    answer = model.invoke(messages)
    messages.append(answer)
    if not answer.tool_calls:
        break
    messages += [TOOLS[call["name"]].invoke(call) for call in answer.tool_calls]
sys.stdout.write(json.dumps([message.content for message in messages if message.type == "tool"]))
