"""The page about retention, its commands given in its order on a log with old entries, with an archive in moto."""

import asyncio
import json
import re

import boto3
import pytest
from moto.server import ThreadedMotoServer

from audit.retained import PARTITION
from gateway.app import build
from gateway.entries import EntryType
from gateway.ports import Append
from gateway.settings import load
from tests.audit.retention.conftest import MONTH, drafts
from tests.cli import real
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8")
BUCKET = "example-handrail-archive"
SHOWN = {
    "retention status": "0 to 4095",
    "retention apply --dry-run": "to be dropped",
    "retention apply": "entries were deleted",
    "audit fsck": "The log is sound",
    "retention hold set": "is in force",
    "retention hold list": "2026/17",
    "retention hold lift": "is no more",
    "retention archive": "every entry is under a checkpoint",
    "retention verify-archive": "no partition to look at",
    "retention verify-archive --trust trust.json partition.ndjson": "every entry is under a checkpoint",
}
"""The longest beginning that fits counts."""


def commands():
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        found += [] if language else [line.removeprefix("handrail ") for line in block.splitlines()]
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Of a gateway whose first partition is 40 months old, with an archive."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    file = tmp_path / "handrail.toml"
    file.write_text(f'[archive]\nbucket = "{BUCKET}"\nendpoint_url = "{url}"\nregion = "us-east-1"\n')
    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / "home"))
    asyncio.run(_live(load(file), tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    server.stop()


async def _live(settings, directory):
    import time

    now = time.time()
    clock = [now - 40 * MONTH]
    gateway = build(settings, lambda: clock[0])
    await gateway.prepare()
    for at in range(0, PARTITION, 1024):
        await gateway.log.append(Append(drafts(at, 1024)))
    clock[0] = now
    await gateway.log.append(Append(drafts(PARTITION, 10)))
    (directory / "trust.json").write_text(json.dumps(gateway.trust()))
    await gateway.close()


def _download(url, file):
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
    [item] = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    file.write_bytes(client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())


def test_the_page_is_true(home, tmp_path):
    hold = ""
    given = commands()
    # The partition has to be there until it was held and archived: what drops it comes last.
    ordered = [one for one in given if "--yes" not in one] + [one for one in given if "--yes" in one]
    for command in ordered:
        beginning = max((one for one in SHOWN if command.startswith(one)), key=len)
        if command.endswith("partition.ndjson"):
            _download(load(tmp_path / "handrail.toml").archive.endpoint_url, tmp_path / "partition.ndjson")
        result = real.invoke(home, *re.sub(r"\bHOLD\b", hold, command).split())
        assert result.exit_code == 0, f"{command}\n{result.output}"
        assert SHOWN[beginning] in result.output, f"{command}\n{result.output}"
        named = re.search(r"Hold (\w{16}) is in force", result.output)
        hold = named[1] if named else hold
    listed = json.loads(real.invoke(home, "retention", "hold", "list", "--json").stdout)["holds"]
    assert [one["case"] for one in listed] == ["2026/17"]
    # The first hold stands, so the partition did, too.
    assert real.invoke(home, "retention", "hold", "lift", listed[0]["hold"]).exit_code == 0
    result = real.invoke(home, "retention", "apply", "--yes")
    assert "Dropped 1 partition;" in result.output
    for command in ("audit fsck --trust trust.json", "retention verify-archive --trust trust.json"):
        assert real.invoke(home, *command.split()).exit_code == 0
    assert real.invoke(home, "retention", "apply", "--json").exit_code == 0
    assert json.loads(real.invoke(home, "retention", "status", "--json").stdout)["states"]["dropped"] == 1
    _the_archive_is_found_under_the_name_that_the_log_had(home, tmp_path)


def _the_archive_is_found_under_the_name_that_the_log_had(home, directory):
    """A log that was restored from a backup has another name; what it archived before lies under the old one."""
    for command in ("create --out backup", "restore backup --into restored.db --origin handrail.test/restored"):
        result = real.invoke(home, "backup", *command.split())
        assert result.exit_code == 0, f"{command}\n{result.output}"
    today = directory / "restored.toml"
    log, database = 'origin = "handrail.test/restored"', f'url = "sqlite:///{directory}/restored.db"'
    archive = (directory / "handrail.toml").read_text()
    today.write_text(f"{archive}\n[log]\n{log}\n[database]\n{database}\n")
    result = real.invoke(home, "retention", "verify-archive", "--trust", "trust.json", "--config", str(today))
    assert (result.exit_code, "1 partition: every entry" in result.output) == (0, True), result.output


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("retention apply", "nobody to ask"),
        ("retention hold set --case x", "not said what to hold"),
        ("retention hold set --case x --principal ada", "not a pseudonym"),
        ("retention hold set --case x --everything --first 1", "not said what to hold"),
        ("retention hold set --case x --first 9 --last 3", "--last is before --first"),
        ("retention hold set --case Jane!Doe --everything", "not a reference"),
        ("retention hold lift 0000000000000000", "no such hold"),
    ],
)
def test_what_cannot_be_done_says_why(home, command, said):
    result = real.invoke(home, *command.split())
    assert result.exit_code in {1, 2}
    assert said in result.output


def test_less_than_six_months_is_refused_at_load(tmp_path):
    from gateway.settings import SettingsError

    file = tmp_path / "handrail.toml"
    file.write_text("[log]\nretention_months = 5\n")
    with pytest.raises(SettingsError, match="retention_months"):
        load(file)
    assert EntryType.RETENTION_APPLIED == "RETAPP"
