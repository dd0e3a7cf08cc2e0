"""Claude Code's hook as a program: ``python -m handrail.claude_code_hook``.

It hands the hook to the gateway (``HANDRAIL_URL``, ``HANDRAIL_API_KEY``) and prints the answer. Where there is none, it ends
with exit status 2, which stops the tool: Claude Code goes on where an HTTP hook's server cannot be reached.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from handrail.client import Client
from handrail.errors import ClientError
from handrail.exchange import Operation, Request
from handrail.views import Json

BLOCKS: Final = 2
"""Exit status by which a hook stops the tool."""
PASSES: Final = 0
_INPUT_MAX_CHARACTERS: Final = 64 << 20


def main(arguments: list[str], given: TextIO, out: TextIO, said: TextIO, environ: Mapping[str, str]) -> int:
    """Hand one hook on.

    Args:
        arguments: ``[HAND [WAIT_SECONDS]]``.
    """
    try:
        body = given.read(_INPUT_MAX_CHARACTERS)
        query = dict(zip(("hand", "wait"), arguments, strict=False))
        with Client(environ["HANDRAIL_URL"], environ["HANDRAIL_API_KEY"]) as client:
            answer = client.run(_hook(body, query))
    except KeyError as missing:
        said.write(f"handrail: {missing} is not set. The tool does not run.\n")
    except (ClientError, ValueError, OSError) as error:
        said.write(f"handrail: {error}. The tool does not run.\n")
    else:
        out.write(json.dumps(answer))
        return PASSES
    return BLOCKS


def _hook(body: str, query: Mapping[str, str]) -> Operation[dict[str, Any]]:
    wait = float(query.get("wait", 0))
    reply = yield Request("POST", "/v1/hooks/claude-code", query, body.encode(), "application/json", wait_seconds=wait)
    answer: Json = reply.document
    return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout, sys.stderr, os.environ))
