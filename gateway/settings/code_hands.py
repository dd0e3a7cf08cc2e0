"""What the adapters that run code here want to be told: ``process``, ``python`` and ``wasm``."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.settings.base import Section

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
"""A name in the scratch directory; no path."""
Argument = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class OutputFileSettings(Section):
    """A file that a program leaves in its scratch directory, collected when it has ended."""

    name: FileName = Field(description="Its name in the scratch directory.")
    content: Literal["text", "bytes"] = Field("text", description="UTF-8 text, or bytes (base64 in the result).")
    required: bool = Field(True, description="Whether a run without it has failed.")


class CodeActionSettings(Section):
    """What one action of a hand that runs code is."""

    argv: tuple[str | tuple[str, ...], ...] | None = Field(
        None,
        description="process: program and arguments. `{name}` is an argument, an inner list is left out where one of "
        "its arguments is absent, `{{` and `}}` are braces. wasm: arguments of a command, no placeholders.",
    )
    multiline: tuple[Argument, ...] = Field(
        (), description="process: arguments that may hold line feeds and tabs in the command line."
    )
    stdin: Argument | None = Field(
        None, description="process: the argument that is given on standard input; a text as it is, else as JSON."
    )
    stdout: Literal["text", "json", "bytes"] = Field(
        "text", description="process: what it writes; anything else than declared is a failure."
    )
    ok_statuses: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        (0,), min_length=1, description="process: exit statuses that are no error."
    )
    input_files: dict[Argument, FileName] = Field(
        {}, description="process: argument -> file in the scratch directory; `{argument}` is then the file's path."
    )
    output_files: dict[Argument, OutputFileSettings] = Field(
        {}, description="process: name -> file to collect; `{name}` is the file's path."
    )
    function: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$",
        description="python: module:function. Default: the source's own module and the action's name.",
    )
    error_text: bool = Field(
        False, description="python: whether the text of an exception is part of the result, and not its type alone."
    )
    export: str | None = Field(
        None, max_length=256, description="wasm: exported function. Default: the WASI command (`_start`)."
    )
    params: tuple[Argument, ...] = Field((), description="wasm: arguments of an exported function, in its order.")
    fuel_max: int = Field(
        10_000_000_000, ge=1, le=2**62, description="wasm: instructions of one call, about one unit each."
    )


class PythonSettings(Section):
    """A hand of the adapter `python`: functions of a file or package, run in a jailed interpreter."""

    source: Path | None = Field(
        None, description="A file `NAME.py` or a package directory `NAME`; the jail sees it read-only."
    )
    toolset: Literal["agent_toolset_20260401"] | None = Field(
        None,
        description="Instead of a source: Anthropic's tools for self-hosted environments, as they come with Handrail.",
    )
    interpreter: Path | None = Field(
        None,
        description="Interpreter, of a virtual environment with what the source imports. Default: the gateway's own.",
    )
    workspaces: Path | None = Field(
        None,
        description="A directory in which every context has one of its own: its calls see that as `/workspace`, and "
        "find it as the last one left it. Nothing bounds what is written but the file system.",
    )
    workspaces_days: float = Field(
        7.0, gt=0, le=3650, description="A context's directory that no call used for so long is removed."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "PythonSettings":
        if (self.source is None) == (self.toolset is None):
            raise ValueError("name a source, or a toolset")
        if self.toolset is not None and self.workspaces is None:
            raise ValueError("a toolset needs workspaces: a directory for what sessions keep in files")
        return self


class WasmSettings(Section):
    """A hand of the adapter `wasm`: a WebAssembly module, run by a jailed worker."""

    module: Path = Field(description="The module's file, binary or text.")
    sha256: Sha256 | None = Field(None, description="Refuse any other content; a pin of the manifest does so as well.")
    memory_max_bytes: int = Field(
        67_108_864, ge=65_536, le=536_870_912, description="Largest linear memory of one call."
    )
    allow: tuple[Literal["clock", "random"], ...] = Field(
        (), description="What of WASI it may ask for beside its standard streams."
    )
