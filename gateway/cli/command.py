"""Declare a command: its function asks for a :class:`Session` or an :class:`Output` and gets it, with the options that
belong to it (``--url``, ``--api-key``, ``--as``, ``--ca-file``, ``--json`` and others), and every error becomes a
sentence and an exit code.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from handrail.errors import (
    ApprovalMismatchError,
    CertificateRefused,
    ClientError,
    HandrailProblem,
    UnexpectedReply,
    Unreachable,
    Unverified,
    VerificationError,
)
from typer.core import TyperCommand

from audit.errors import LogMisconfigured
from gateway.cli.connect import Session, resolve
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.hints import HINTS, hint_for
from gateway.cli.nouns import NOUNS
from gateway.cli.output import Output
from gateway.errors import HandrailError, Unavailable
from gateway.reasons import Reason
from gateway.settings import SettingsError
from keys.errors import KeyStoreAway, KeyUnavailable

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Url = Annotated[str | None, typer.Option("--url", help="The gateway. [env: HANDRAIL_URL]")]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", help="Who calls. Others may see it in ps: prefer the variable. [env: HANDRAIL_API_KEY]"),
]
As = Annotated[str | None, typer.Option("--as", help="Principal of HANDRAIL_HOME/cli.json.")]

CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", help="Authorities (PEM) of the gateway's certificate. [env: HANDRAIL_CA_FILE]"),
]
ClientCert = Annotated[
    Path | None,
    typer.Option("--client-cert", help="Your certificate (PEM), instead of an API key. [env: HANDRAIL_CLIENT_CERT]"),
]
ClientKey = Annotated[
    Path | None, typer.Option("--client-key", help="Its key (PEM, not encrypted). [env: HANDRAIL_CLIENT_KEY]")
]

_OUTPUT_OPTIONS: Final = {"json_": Json}
_TLS_OPTIONS: Final = {"ca_file": CaFile, "client_cert": ClientCert, "client_key": ClientKey}
_SESSION_OPTIONS: Final = {"url": Url, "api_key": ApiKey, "as_name": As, **_TLS_OPTIONS, **_OUTPUT_OPTIONS}
_AUTHORITIES: Final = (
    'Say who vouches for it: --ca-file FILE, HANDRAIL_CA_FILE or "ca_file" in cli.json; and call it by a name of the '
    "certificate."
)
_YOUR_CERTIFICATE: Final = (
    "Look at its dates and issuer: openssl x509 -noout -dates -issuer -in FILE. Whoever runs the gateway says which "
    "authorities it takes ([server.tls] client_ca)."
)
_NOBODY_THERE: Final = (
    "Is the gateway running? Start it with 'handrail serve', or give its --url, or set HANDRAIL_HOME to the directory "
    "that has its cli.json."
)
_NOT_REACHED: Final = {Unverified: _AUTHORITIES, CertificateRefused: _YOUR_CERTIFICATE}
_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY
_DASHED_KID: Final = re.compile(r"-[A-Za-z0-9_-]{42}")
"""An RFC 7638 thumbprint; no option is as long."""
_TRY_LATER: Final = frozenset({429, 502, 503, 504})


class _Command(TyperCommand):
    """A command that takes a key's id for what it is, also where it begins with a dash as every 64th does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put such ids behind ``--``, where nothing is an option."""
        ids = [] if "--" in args else [word for word in args if _DASHED_KID.fullmatch(word)]
        if ids:
            args = [*(word for word in args if word not in ids), "--", *ids]
        return super().parse_args(ctx, args)


def noun(name: str) -> typer.Typer:
    """The Typer application of one of :data:`gateway.cli.nouns.NOUNS`."""
    return group(NOUNS[name])


def group(help_: str | None = None) -> typer.Typer:
    """A Typer application below a noun; without a text, one whose commands join those of the noun."""
    return typer.Typer(
        help=help_,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    example: str,
    good: str = "it was done",
    negative: str = "",
    waiting: str = "",
    unreachable: str = "",
    **settings: Any,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Register a function as a command of ``app``. Its return value, where it has one, is the exit code.

    Args:
        example: a call as somebody would type it, without ``handrail``.
        good, negative, waiting, unreachable: what these exit codes mean here; what cannot be is left out.
    """

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
        asks = options is _SESSION_OPTIONS
        meanings = {
            Exit.GOOD: good,
            Exit.NEGATIVE: ", or ".join(filter(None, [negative, "the gateway refused" if asks else ""])),
            Exit.USAGE: "wrong use: arguments, files, configuration" + (", the API key" if asks else ""),
            Exit.UNREACHABLE: unreachable or ("the gateway cannot be reached" if asks else ""),
            Exit.WAITING: waiting,
        }
        app.command(name, epilog=_epilog(example, meanings), cls=_Command, **settings)(run)
        return run

    return register


def _epilog(example: str, meanings: Mapping[Exit, str]) -> str:
    """What stands below the options. The control character keeps the lines of a paragraph apart."""
    codes = [f"  {int(code)}  {meaning}" for code, meaning in meanings.items() if meaning]
    return "\n".join(["\b", "Example:", f"  handrail {example}", "", "\b", "Exit codes:", *codes])


def _session(out: Output, options: dict[str, Any]) -> Session:
    tls = {name: options[name] for name in _TLS_OPTIONS}
    return Session(out, resolve(options["url"], options["api_key"], options["as_name"], tls))


@contextmanager
def _errors_become_words(out: Output) -> Iterator[None]:
    """The one table of errors of the command line: type -> sentence, next step, code, exit code."""
    try:
        yield
    except Stop as exc:
        out.error(exc.text, exc.hint, exc.code)
        raise typer.Exit(exc.exit) from None
    except HandrailProblem as exc:
        out.error(*_said(exc), exc.code, _facts(exc))
        raise typer.Exit(_problem_exit(exc)) from None
    except Unreachable as exc:
        out.error(str(exc), _NOT_REACHED.get(type(exc), _NOBODY_THERE), Code.UNREACHABLE)
        raise typer.Exit(Exit.UNREACHABLE) from None
    except UnexpectedReply as exc:
        hint = "Check --url: something other than a Handrail gateway may be answering there."
        out.error(str(exc), hint, Code.UNEXPECTED_REPLY)
        raise typer.Exit(Exit.UNREACHABLE) from None
    except ApprovalMismatchError as exc:
        hint = "The gateway showed one call and bound another. Tell its operator."
        out.error(f"nothing was signed: {exc}", hint, Code.MISMATCH)
        raise typer.Exit(Exit.NEGATIVE) from None
    except VerificationError as exc:
        out.error(str(exc), "Do not rely on it. Tell whoever gave it to you.", Code.UNVERIFIED)
        raise typer.Exit(Exit.NEGATIVE) from None
    except ClientError as exc:
        out.error(str(exc), "Check the files that you gave, and what they hold.", Code.FILE)
        raise typer.Exit(Exit.USAGE) from None
    except HandrailError as exc:
        out.error(exc.detail or exc.text, *_local(exc))
        raise typer.Exit(Exit.UNREACHABLE if _is_away(exc) else Exit.USAGE) from None
    except OSError as exc:
        if exc.filename is None:  # not about a file: a closed pipe is the root command's to handle
            raise
        hint = "Check its name, and who may read or write it."
        out.error(f"{exc.filename}: {exc.strerror}", hint, Code.FILE)
        raise typer.Exit(Exit.USAGE) from None


def _is_away(error: HandrailError) -> bool:
    """Whether trying again later may help. A database that is another log's, and a key file that is missing or does not
    open, stay so until files or configuration are mended."""
    if isinstance(error, KeyUnavailable):
        return isinstance(error, KeyStoreAway)
    return isinstance(error, Unavailable) and not isinstance(error, LogMisconfigured)


def _said(problem: HandrailProblem) -> tuple[str, str]:
    """What a gateway refused, as exactly as it says, and what to do next."""
    return str(problem.facts.get("why") or problem.detail), hint_for(problem.code, problem.facts)


def _facts(problem: HandrailProblem) -> dict[str, Any]:
    facts = {name: value for name, value in problem.facts.items() if name != "why"}
    return {**facts, **({"request_id": problem.request_id} if problem.request_id else {})}


def _local(error: HandrailError) -> tuple[str, str]:
    """What to do about something that happened on this machine, and its code."""
    if isinstance(error, SettingsError):
        return (
            "'handrail config example' shows every setting; 'handrail config check' names each wrong one.",
            Code.SETTINGS,
        )
    if isinstance(error, LogMisconfigured):
        hint = "Database and configuration do not belong together: give the --config that the gateway has."
        return hint, str(error.reason)
    if error.reason is Reason.POLICY_BUNDLE:
        return HINTS[error.reason], str(error.reason)
    return "'handrail doctor' looks at what this machine needs.", str(error.reason)


def _problem_exit(problem: HandrailProblem) -> Exit:
    if problem.status in _TRY_LATER:
        return Exit.UNREACHABLE
    # What the gateway cannot read is an argument or an option of the command.
    wrong_use = problem.status == 401 or problem.code == Reason.REQUEST_MALFORMED
    return Exit.USAGE if wrong_use else Exit.NEGATIVE
