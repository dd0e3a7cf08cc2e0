"""Signatures a second by a key in OpenBao's Transit engine: ``python -m bench.transit``. Needs ``make tools``."""

import tempfile
from pathlib import Path

from bench.signing import signatures_a_second
from gateway.ports import Purpose
from keys.stores.transit.api import Transit
from keys.stores.transit.halves import TransitHalves
from keys.stores.transit.http import Http
from keys.stores.transit.login import TokenFile
from tests.openbao import serving

COUNT = 2_000


def main() -> None:
    with tempfile.TemporaryDirectory() as where, serving(Path(where)) as bao:
        bao.call("POST", "sys/mounts/transit", {"type": "transit"})
        token = Path(where) / "token"
        token.write_text(bao.root)
        transit = Transit(Http(bao.url, bao.ca_file, 5.0), TokenFile(token))
        sign = TransitHalves(transit, "transit", "handrail").make(Purpose.CHECKPOINT).sign
        rate = signatures_a_second(sign, COUNT)
        transit.close()
    print(f"{rate:,.0f} signatures a second, one after another over TLS on this machine, each verified")


if __name__ == "__main__":
    main()
