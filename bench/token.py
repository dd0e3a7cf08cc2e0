"""Signatures a second by a key in a software token: ``python -m bench.token``. Needs SoftHSM and the extra pkcs11."""

import os
import subprocess
import tempfile
from pathlib import Path

from bench.signing import signatures_a_second
from gateway.ports import Purpose
from keys.stores.pkcs11 import Token

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
COUNT = 3_000


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        tokens = Path(directory) / "tokens"
        tokens.mkdir()
        conf = Path(directory) / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        pins = ["--so-pin", "12345678", "--pin", "87654321"]
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "bench", *pins], check=True)
        token = Token(MODULE, "bench", "87654321")
        sign = token.make(Purpose.CHECKPOINT).sign
        rate = signatures_a_second(sign, COUNT)
        token.close()
    print(f"{rate:,.0f} signatures a second, each verified")


if __name__ == "__main__":
    main()
