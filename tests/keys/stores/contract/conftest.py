"""Each test of the contract runs against each store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import migrations
from audit.database import make_engine
from tests.keys.stores.contract.backends import ROOT, Backend


@pytest.fixture(params=["file", pytest.param("database", marks=pytest.mark.postgres), "pkcs11", "transit", "aws-kms"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "pkcs11":
        token = request.getfixturevalue("soft_token")
        places = {"conf": str(token.conf), "module": str(token.module), "token": token.label, "pin": token.pin}
        yield Backend({"kind": "pkcs11", "root": ROOT.hex(), "directory": str(tmp_path / "keys"), **places})
        return
    if request.param == "transit":
        engine = request.getfixturevalue("engine")
        bao = engine.bao
        places = {"url": bao.url, "ca": str(bao.ca_file), "mount": engine.mount, "token": str(engine.token_file)}
        yield Backend({"kind": "transit", "root": ROOT.hex(), "directory": str(tmp_path / "keys"), **places})
        return
    if request.param == "aws-kms":
        places = {"url": request.getfixturevalue("kms_service").url}
        yield Backend({"kind": "aws-kms", "root": ROOT.hex(), "directory": str(tmp_path / "keys"), **places})
        return
    if request.param == "file":
        yield Backend({"kind": "file", "root": ROOT.hex(), "directory": str(tmp_path / "keys")})
        return
    url = request.getfixturevalue("postgres_server").create_database()
    engine = make_engine(url)
    migrations.upgrade(engine)
    yield Backend({"kind": "database", "root": ROOT.hex(), "url": url}, engine)
    engine.dispose()
