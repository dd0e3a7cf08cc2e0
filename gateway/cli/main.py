"""The root command. A noun's module is imported when the noun is used, so that ``handrail --help`` starts at once."""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from gateway.cli.exits import Code, Exit
from gateway.cli.nouns import NOUNS
from gateway.cli.output import Output

_LISTING: Final = "handrail.listing"


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and loads each one only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature of the base class
        """Names in the order of the table; no module is loaded."""
        return [name for name in NOUNS if name != "demo" or find_spec("gateway.cli.demo") is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, loaded; a line for the help while help is being written."""
        if cmd_name not in self.list_commands(ctx):
            return None
        if ctx.meta.get(_LISTING):
            return TyperCommand(name=cmd_name, help=NOUNS[cmd_name])
        loaded = typer.main.get_command(import_module(f"gateway.cli.{cmd_name}").app)
        loaded.name = cmd_name
        return loaded

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Help without loading any command."""
        ctx.meta[_LISTING] = True
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names of commands without loading any: a shell asks at every press of the key."""
        ctx.meta[_LISTING] = True
        return super().shell_complete(ctx, incomplete)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and answer wrong use in the shape that was asked for: words and the usage, or one JSON document."""
        given = sys.argv[1:] if args is None else list(args)
        run = partial(super().main, given, prog_name, complete_var, windows_expand_args=windows_expand_args, **extra)
        if not standalone_mode or not _wants_json(given):
            return run(standalone_mode=standalone_mode)
        out = Output(json_=True)
        try:
            code = run(standalone_mode=False)
        except TyperException as exc:
            context = getattr(exc, "ctx", None)
            where = context.command_path if context is not None else "handrail"
            out.error(" ".join(exc.format_message().split()), f"See: {where} --help", Code.USAGE)
            sys.exit(Exit.USAGE)
        except typer.Abort:
            out.error("nothing was answered", "Run it again and answer, or give --yes.", Code.INTERRUPTED)
            sys.exit(Exit.NEGATIVE)
        sys.exit(code if isinstance(code, int) else Exit.GOOD)


def _wants_json(args: Sequence[str]) -> bool:
    """Whether ``--json`` was given; what stands behind ``--`` is another program's."""
    own = list(args)
    return "--json" in (own[: own.index("--")] if "--" in own else own)


app = typer.Typer(
    cls=LazyGroup,
    help="Handrail: a policy-and-governance gateway for AI agents.",
    epilog="Exit codes: 0 good, 1 negative verdict, 2 wrong use, 3 unreachable, 4 still waiting.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to import, rarely used

        try:
            typer.echo(version("handrail"))
        except PackageNotFoundError:
            typer.echo("handrail is not installed as a distribution (running from a checkout)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Handrail: a policy-and-governance gateway for AI agents."""


def run() -> None:
    """Entry point of the ``handrail`` command."""
    app(prog_name="handrail")
