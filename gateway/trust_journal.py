"""What a gateway's home remembers of security admins: a file beside the keys, so that no database can make it forget
that a change of trust takes a second person.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from gateway.errors import HandrailError
from gateway.files import write
from gateway.reasons import Reason

FILE: Final = "security-admins.json"


class TrustJournal:
    """The file of one home.

    Args:
        origin: the log's name. Who was an admin under another one, before a restore, is for the restored log to say.
    """

    def __init__(self, home: Path, origin: str) -> None:
        self._file = home / FILE
        self._origin = origin

    def load(self) -> dict[str, frozenset[str]]:
        """Tenant -> pseudonyms of its security admins when they were kept last.

        Raises:
            HandrailError: ``gateway.internal``; the file is there and cannot be read.
        """
        try:
            found = json.loads(self._file.read_bytes())
            if found["origin"] != self._origin:
                return {}
            return {str(tenant): frozenset(map(str, names)) for tenant, names in found["admins"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            detail = f"{FILE} in the home cannot be read ({type(error).__name__}): it says who the security admins are"
            raise HandrailError(Reason.INTERNAL, detail) from None

    def keep(self, admins: Mapping[str, Collection[str]]) -> None:
        """Replace what was kept. Raises ``OSError``."""
        document = {"origin": self._origin, "admins": {tenant: sorted(names) for tenant, names in admins.items()}}
        write(self._file, json.dumps(document, indent=1, sort_keys=True).encode(), replace=True)
