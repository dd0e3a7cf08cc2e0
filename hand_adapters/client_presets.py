"""What known clients can do with tools of their own, as declarations for an operator to review: nothing here decides.

Tools and their arguments are those of the client's own published types (``sdk-tools.d.ts`` of Claude Code 2.1). A tool
that is not listed is denied, so that a new version of a client can do nothing new by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.manifest import ArgumentRole, SideEffects

_PATH: Final = {"/file_path": ArgumentRole.PATH}
_SEARCHED: Final = {"/path": ArgumentRole.PATH}


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool of a client.

    Attributes:
        roles: JSON pointer into its arguments -> role.
    """

    description: str
    side_effects: SideEffects
    roles: Mapping[str, ArgumentRole] = field(default_factory=dict)


CLAUDE_CODE: Final[Mapping[str, Tool]] = {
    "Agent": Tool("Has another agent do a task; its calls are judged too.", SideEffects.NONE),
    "AskUserQuestion": Tool("Asks the person at the terminal.", SideEffects.NONE),
    "Bash": Tool("Runs a command.", SideEffects.EXTERNAL, {"/command": ArgumentRole.CONTENT}),
    "Edit": Tool("Changes a file.", SideEffects.REVERSIBLE, _PATH),
    "EnterPlanMode": Tool("Begins to plan.", SideEffects.NONE),
    "ExitPlanMode": Tool("Shows the person a plan.", SideEffects.NONE),
    "Glob": Tool("Lists files by a pattern.", SideEffects.NONE, _SEARCHED),
    "Grep": Tool("Searches files.", SideEffects.NONE, _SEARCHED),
    "NotebookEdit": Tool("Changes a notebook.", SideEffects.REVERSIBLE, {"/notebook_path": ArgumentRole.PATH}),
    "Read": Tool("Reads a file.", SideEffects.NONE, _PATH),
    "Skill": Tool("Loads instructions that are installed.", SideEffects.NONE),
    "Task": Tool("Agent, as older versions call it.", SideEffects.NONE),
    "TaskCreate": Tool("Adds to its list of tasks.", SideEffects.NONE),
    "TaskGet": Tool("Reads from its list of tasks.", SideEffects.NONE),
    "TaskList": Tool("Shows its list of tasks.", SideEffects.NONE),
    "TaskStop": Tool("Ends a command or agent that it began.", SideEffects.REVERSIBLE),
    "TaskUpdate": Tool("Changes its list of tasks.", SideEffects.NONE),
    "TodoWrite": Tool("Writes its list of tasks.", SideEffects.NONE),
    "ToolSearch": Tool("Loads tools that are there already; their calls are judged.", SideEffects.NONE),
    "WebFetch": Tool("Reads a page.", SideEffects.EXTERNAL, {"/url": ArgumentRole.URL}),
    "WebSearch": Tool("Searches the web.", SideEffects.EXTERNAL, {"/query": ArgumentRole.CONTENT}),
    "Write": Tool("Writes a file.", SideEffects.REVERSIBLE, _PATH),
}
PRESETS: Final[Mapping[str, Mapping[str, Tool]]] = {"claude-code": CLAUDE_CODE}
"""Client -> its tools. The name is also that of the hand that is declared."""
