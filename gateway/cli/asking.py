"""Asking the person at the terminal for one word before something is done."""

import typer

from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output


def ask_for(word: str, out: Output, *, to: str, unasked: str) -> None:
    """Go on only where the person types ``word``.

    Args:
        to: what the word has happen.
        unasked: what to do where nobody can be asked: no terminal, or a program that reads JSON.

    Raises:
        Stop: nobody can be asked, or the word was another.
    """
    if out.json or not out.interactive:
        raise Stop("there is nobody to ask here", unasked)
    typed = typer.prompt(f"Type '{word}' to {to}", default="", show_default=False)
    if typed.strip() != word:
        raise Stop("nothing was done", f"Type '{word}', or run it again with --yes.", Exit.NEGATIVE)
