"""Declare a command: its function asks for a :class:`Session` or an :class:`Output` and gets it, with the options that
belong to it (``--url``, ``--api-key``, ``--as``, ``--json``), and every error becomes a sentence and an exit code.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from handrail.errors import (
    ApprovalMismatchError,
    ClientError,
    HandrailProblem,
    UnexpectedReply,
    Unreachable,
    VerificationError,
)

from gateway.cli.connect import Session, resolve
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.errors import HandrailError, Unavailable

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Url = Annotated[str | None, typer.Option("--url", help="The gateway. [env: HANDRAIL_URL]")]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", help="Who calls. Others may see it in ps: prefer the variable. [env: HANDRAIL_API_KEY]"),
]
As = Annotated[str | None, typer.Option("--as", help="Principal of HANDRAIL_HOME/cli.json.")]

_OUTPUT_OPTIONS: Final = {"json_": Json}
_SESSION_OPTIONS: Final = {"url": Url, "api_key": ApiKey, "as_name": As, **_OUTPUT_OPTIONS}
_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_TRY_LATER: Final = frozenset({429, 502, 503, 504})


def noun(help_: str) -> typer.Typer:
    """The Typer application of one noun."""
    return typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(
    app: typer.Typer, name: str | None = None, **settings: Any
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Register a function as a command of ``app``. Its return value, where it has one, is the exit code."""

    def register(function: Callable[..., Any]) -> Callable[..., None]:
        parameters = inspect.signature(function, eval_str=True).parameters
        injected = {key: item.annotation for key, item in parameters.items() if item.annotation in {Session, Output}}
        options = _SESSION_OPTIONS if Session in injected.values() else _OUTPUT_OPTIONS if injected else {}

        def run(**values: Any) -> None:
            own = {option: values.pop(option) for option in options}
            out = Output(json_=bool(own.get("json_")))
            with _errors_become_words(out):
                session = _session(out, own) if options is _SESSION_OPTIONS else None
                for key, kind in injected.items():
                    values[key] = session if kind is Session else out
                try:
                    code = function(**values)
                finally:
                    if session is not None:
                        session.close()
            if code:
                raise typer.Exit(int(code))

        kept = [item for key, item in parameters.items() if key not in injected]
        kept = [item.replace(kind=_KEYWORD) for item in kept]
        kept += [
            inspect.Parameter(key, _KEYWORD, annotation=kind, default=False if kind is Json else None)
            for key, kind in options.items()
        ]
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in kept}
        app.command(name, **settings)(run)
        return run

    return register


def _session(out: Output, options: dict[str, Any]) -> Session:
    return Session(out, resolve(options["url"], options["api_key"], options["as_name"]))


@contextmanager
def _errors_become_words(out: Output) -> Iterator[None]:
    """The one table of errors of the command line: type -> sentence, next step, exit code."""
    try:
        yield
    except Stop as exc:
        out.error(exc.text, exc.hint)
        raise typer.Exit(exc.code) from None
    except HandrailProblem as exc:
        out.error(_problem_text(exc), _problem_hint(exc), exc.code)
        raise typer.Exit(_problem_exit(exc)) from None
    except Unreachable as exc:
        out.error(str(exc), "Is the gateway running? Start it with 'handrail serve', or give its --url.")
        raise typer.Exit(Exit.UNREACHABLE) from None
    except UnexpectedReply as exc:
        out.error(str(exc), "Check --url: something other than a Handrail gateway may be answering there.")
        raise typer.Exit(Exit.UNREACHABLE) from None
    except ApprovalMismatchError as exc:
        out.error(f"nothing was signed: {exc}", "The gateway showed one call and bound another. Tell its operator.")
        raise typer.Exit(Exit.NEGATIVE) from None
    except VerificationError as exc:
        out.error(str(exc))
        raise typer.Exit(Exit.NEGATIVE) from None
    except ClientError as exc:
        out.error(str(exc))
        raise typer.Exit(Exit.USAGE) from None
    except HandrailError as exc:
        out.error(exc.detail or exc.text, code=str(exc.reason))
        raise typer.Exit(Exit.UNREACHABLE if isinstance(exc, Unavailable) else Exit.USAGE) from None
    except OSError as exc:
        if exc.filename is None:  # not about a file: a closed pipe is the root command's to handle
            raise
        out.error(f"{exc.filename}: {exc.strerror}", "Check HANDRAIL_HOME, and who owns and may write it.")
        raise typer.Exit(Exit.USAGE) from None


def _problem_text(problem: HandrailProblem) -> str:
    hints = ", ".join(f"{name}={value}" for name, value in problem.hints.items())
    return f"{problem.detail} ({problem.code}{'; ' + hints if hints else ''})"


def _problem_hint(problem: HandrailProblem) -> str:
    if problem.code == "auth.missing":
        return "Set HANDRAIL_API_KEY, or HANDRAIL_HOME to the directory that has cli.json."
    if problem.code in {"auth.invalid", "auth.expired"}:
        return "Ask a security admin for a new key: handrail principals add ID --role ROLE."
    if problem.code == "auth.forbidden":
        return "Choose a principal that may with --as NAME; 'handrail principals list' shows who has which role."
    return f"Request {problem.request_id}." if problem.request_id else ""


def _problem_exit(problem: HandrailProblem) -> Exit:
    if problem.status in _TRY_LATER:
        return Exit.UNREACHABLE
    # A parameter of the query that the gateway does not take is an option of the command.
    wrong_use = problem.status == 401 or (problem.code == "request.malformed" and "parameter" in problem.hints)
    return Exit.USAGE if wrong_use else Exit.NEGATIVE
