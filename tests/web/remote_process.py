"""A remote hand as a process: ``python -m tests.web.remote_process URL KEY JOURNAL``. Writes a line before and after
each step, so that a test can count what ran, whatever was killed when."""

import os
import sys
import threading
from typing import Any

from handrail.hand import Step
from handrail.remote import RemoteHand

ISSUER = "handrail.test/remote"


def main() -> None:
    url, key, journal = sys.argv[1:]

    def write(line: str) -> None:
        file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def note(args: dict[str, Any], step: Step) -> dict[str, Any]:
        write(f"began {args['text']}")
        if "hold" in args["text"]:
            threading.Event().wait()  # until it is killed
        write(f"ended {args['text']}")
        return {"said": args["text"], "for": step.subject}

    with RemoteHand(url, key, "crm", {"note": note}, issuer=ISSUER) as hand:
        hand.serve()


if __name__ == "__main__":
    main()
