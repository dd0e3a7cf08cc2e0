"""What AgentDojo's suite does, as JSON: tools, and the calls and results of each user task, alone and followed by each
injection task. Runs in an environment of its own (`.ci/agentdojo`), with the suite's own environment and no model."""

import json
import sys
from typing import Any

from agentdojo.functions_runtime import FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suite
from pydantic import BaseModel

VERSION = "v1.2.2"


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def calls(suite: Any, task: Any, environment: Any) -> list[dict[str, Any]]:
    runtime = FunctionsRuntime(suite.tools)
    made = []
    for call in task.ground_truth(environment):
        result, error = runtime.run_function(environment, call.function, call.args)
        made.append({"action": call.function, "args": plain(dict(call.args)), "result": plain(result), "error": error})
    return made


def dump(name: str) -> dict[str, Any]:
    suite = get_suite(VERSION, name)
    vectors = suite.get_injection_vector_defaults()
    users = {}
    for user_id, user in suite.user_tasks.items():
        attacks = {}
        for attack_id, attack in suite.injection_tasks.items():
            planted = suite.load_and_inject_default_environment(dict.fromkeys(vectors, attack.GOAL.replace("\n", " ")))
            environment = user.init_environment(planted)
            before = calls(suite, user, environment)
            attacks[attack_id] = {"user": before, "injected": calls(suite, attack, environment)}
        environment = user.init_environment(suite.load_and_inject_default_environment({}))
        users[user_id] = {"request": user.PROMPT, "calls": calls(suite, user, environment), "attacks": attacks}
    tools = {tool.name: tool.parameters.model_json_schema() for tool in suite.tools}
    return {"suite": name, "version": VERSION, "tools": tools, "users": users}


if __name__ == "__main__":
    json.dump(dump(sys.argv[1] if len(sys.argv) > 1 else "slack"), sys.stdout)
