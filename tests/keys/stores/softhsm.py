"""A PKCS#11 token made of software (SoftHSM), fresh for each test."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import services

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
_SO_PIN = "3141592653"


@dataclass(frozen=True)
class SoftToken:
    """A token that was initialised.

    Attributes:
        conf: SoftHSM's configuration, which SOFTHSM2_CONF names.
        directory: where its objects lie.
    """

    conf: Path
    module: Path
    directory: Path
    label: str
    pin: str

    def unplug(self) -> None:
        """Take the token out."""
        self.directory.rename(self.directory.with_name("unplugged"))
        self.directory.mkdir()

    def plug_in(self) -> None:
        """Put it back."""
        self.directory.rmdir()
        self.directory.with_name("unplugged").rename(self.directory)


@pytest.fixture(scope="session")
def soft_conf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One configuration for the process: the library reads it when it is loaded."""
    if shutil.which("softhsm2-util") is None or not any(Path(one).exists() for one in _MODULES):
        services.missing("SoftHSM", "Install it: apt-get install softhsm2.")
    directory = tmp_path_factory.mktemp("softhsm")
    (directory / "tokens").mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    yield conf
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def soft_token(soft_conf: Path) -> SoftToken:
    """A new token, with a user's PIN."""
    label, pin = f"t{secrets.token_hex(6)}", secrets.token_hex(4)
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", _SO_PIN, "--pin", pin]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    module = next(Path(one) for one in _MODULES if Path(one).exists())
    return SoftToken(soft_conf, module, soft_conf.parent / "tokens", label, pin)
