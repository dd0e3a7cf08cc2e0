"""What a gateway's home remembers of freezes: a file beside the keys, so that no database can make it forget."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from gateway.errors import HandrailError
from gateway.files import write
from gateway.freeze import Cause, Freeze, Scope
from gateway.reasons import Reason

FILE: Final = "freezes.json"


class FreezeJournal:
    """The file of one home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE

    def load(self) -> Sequence[Freeze]:
        """What was frozen when it was kept last; nothing where no freeze was ever kept.

        Raises:
            HandrailError: ``gateway.internal``; the file is there and cannot be read.
        """
        try:
            found = json.loads(self._file.read_bytes())
            return [Freeze(**{**one, "scope": Scope(one["scope"]), "cause": Cause(one["cause"])}) for one in found]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            detail = f"{FILE} in the home cannot be read ({type(error).__name__}): it says what is frozen"
            raise HandrailError(Reason.INTERNAL, detail) from None

    def keep(self, freezes: Sequence[Freeze]) -> None:
        """Replace what was kept. Raises ``OSError``."""
        if freezes or self._file.exists():
            write(self._file, json.dumps([asdict(one) for one in freezes], indent=1).encode(), replace=True)
