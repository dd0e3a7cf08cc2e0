"""The archive, against moto's server: a real client and real requests over HTTP. What moto does not enforce is not
shown here: nothing keeps anybody from its memory, and it believes any credentials."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from audit import archive, worm
from audit.checkpoint import VerifierKey
from audit.errors import ArchiveRefused, NoteInvalid
from audit.fsck import check
from audit.reader import Reader
from audit.retained import PARTITION
from audit.worm import S3Archive
from gateway.settings import ArchiveSettings
from tests.audit.retention.conftest import retention
from tests.dripping import dripping

BUCKET = "handrail-archive"
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)


@pytest.fixture(scope="session")
def s3_url():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def client(s3_url, credentials):
    return boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")


@pytest.fixture
def settings(s3_url, client, request):
    bucket = f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return ArchiveSettings(bucket=bucket, endpoint_url=s3_url, region="us-east-1")


@pytest.fixture
def store(settings):
    return S3Archive.open(settings)


def test_what_is_put_is_locked_and_the_same(store):
    stored = store.put("log/0.ndjson", b"entries", retain_until=UNTIL, legal_hold=True)
    assert stored.locked
    assert stored.retain_until == UNTIL
    assert stored.legal_hold
    assert stored.sha256 == hashlib.sha256(b"entries").hexdigest()
    assert store.head("log/0.ndjson") == stored == store.head("log/0.ndjson", stored.version)
    assert store.get("log/0.ndjson") == b"entries" == store.get("log/0.ndjson", stored.version)
    assert store.head("log/1.ndjson") is None


def test_nothing_is_overwritten(store):
    store.put("log/0.ndjson", b"entries", retain_until=UNTIL)
    with pytest.raises(ArchiveRefused, match="an object of that name already"):
        store.put("log/0.ndjson", b"others", retain_until=UNTIL)
    assert store.get("log/0.ndjson") == b"entries"


def test_the_store_deletes_no_locked_version_and_shortens_no_lock(store, client, settings):
    stored = store.put("log/0.ndjson", b"entries", retain_until=UNTIL)
    named = {"Bucket": settings.bucket, "Key": "handrail/log/0.ndjson", "VersionId": stored.version}
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(**named)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(**named, BypassGovernanceRetention=True)
    client.delete_object(Bucket=settings.bucket, Key="handrail/log/0.ndjson")  # a marker: the version stays
    assert store.head("log/0.ndjson") is None
    assert store.get("log/0.ndjson", stored.version) == b"entries"


def test_a_bucket_that_locks_nothing_is_refused(client, s3_url):
    client.create_bucket(Bucket="unlocked")
    with pytest.raises(ArchiveRefused, match="unlocked"):
        S3Archive.open(ArchiveSettings(bucket="unlocked", endpoint_url=s3_url, region="us-east-1"))
    with pytest.raises(ArchiveRefused, match="nowhere"):
        S3Archive.open(ArchiveSettings(bucket="nowhere", endpoint_url=s3_url, region="us-east-1"))


def test_a_store_that_is_away_is_refused_with_no_word_of_its_own(credentials):
    away = ArchiveSettings(bucket="somewhere", endpoint_url="http://127.0.0.1:9", region="us-east-1")
    with pytest.raises(ArchiveRefused, match="EndpointConnectionError"):
        S3Archive.open(away)


def test_a_store_that_sends_a_byte_now_and_then_keeps_nobody(credentials, monkeypatch):
    monkeypatch.setattr(worm, "CALL_SECONDS", 0.2)
    with dripping() as url:
        settings = ArchiveSettings(bucket="somewhere", endpoint_url=url, region="us-east-1")
        with pytest.raises(ArchiveRefused, match=r"bucket somewhere: no whole answer in 0\.2 s"):
            S3Archive.open(settings)
        store = S3Archive(boto3.client("s3", endpoint_url=url, region_name="us-east-1"), "somewhere")
        for work in (
            lambda: store.get("log/0.ndjson"),
            lambda: store.put("log/0.ndjson", b"entries", retain_until=UNTIL),
        ):
            with pytest.raises(ArchiveRefused, match="no whole answer"):
                work()


# --- partitions ------------------------------------------------------------------------------------------------------


async def test_a_partition_is_archived_before_it_is_dropped_and_proves_itself(aged, opened, clock, store):
    body = Reader(aged).entry(5000).body
    async with opened(aged) as log:
        one = retention(aged, log, clock, store)
        put_away = await one.put_away(1)
        assert await one.drop(1) > 4000
        key = VerifierKey.parse(log.vkey())
        facts = [json.loads(entry.body)["facts"] for entry in log.reader.query(_applied()).entries]
    assert list(check(aged)) == []
    name = archive.object_name("handrail.local/log", 1)
    assert name == "handrail.local/log/000000000004096.ndjson"
    data = store.get(name, facts[0]["archive_version"])
    found = archive.verify(data, [key], "handrail.local/log")
    assert found == put_away
    assert (found.first, found.last) == (PARTITION, 2 * PARTITION - 1)
    assert facts[0]["archive"] == hashlib.sha256(data).hexdigest() == found.sha256
    assert facts[0]["root"] == found.root.hex()
    assert body in data


def _applied():
    from audit.query import Filter

    return Filter(tenant="default", type="RETAPP")


class Forgetful:
    """An archive that takes everything and locks nothing."""

    def __init__(self, store):
        self._store = store

    def put(self, name, data, *, retain_until, legal_hold=False):
        return self._store.put(name, data, retain_until=retain_until)

    def get(self, name, version=""):
        return self._store.get(name, version)

    def head(self, name, version=""):
        from dataclasses import replace

        found = self._store.head(name, version)
        return None if found is None else replace(found, locked=False)


@pytest.mark.parametrize("kind", ["unlocked", "other", "torn"])
async def test_nothing_is_dropped_that_the_archive_does_not_hold(aged, opened, clock, store, kind):
    async with opened(aged) as log:
        one = retention(aged, log, clock, Forgetful(store) if kind == "unlocked" else store)
        if kind != "unlocked":
            with log.reader.connect() as connection:
                data = archive.make(connection, 1 if kind == "other" else 0, await log.checkpoint())
            data = data if kind == "other" else data[:-100]
            store.put(archive.object_name(log.origin, 0), data, retain_until=UNTIL)
        size = log.reader.head()[0]
        with pytest.raises(ArchiveRefused):
            await one.drop(0)
        assert log.reader.head()[0] == size
        assert log.reader.entry(1)


@pytest.fixture
async def file(aged, opened):
    async with opened(aged) as log:
        with log.reader.connect() as connection:
            return archive.make(connection, 0, await log.checkpoint()), VerifierKey.parse(log.vkey())


async def test_every_change_of_an_archived_file_is_seen(file):
    data, key = file
    archive.verify(data, [key])
    lines = data.split(b"\n")
    changes = {
        "a line less": [*lines[:5], *lines[6:]],
        "two lines changed places": [*lines[:5], lines[6], lines[5], *lines[7:]],
        "a line twice": [*lines[:5], lines[5], *lines[5:]],
        "another member": [*lines[:5], lines[5][:-1] + b',"x":1}', *lines[6:]],
        "a space": [*lines[:5], lines[5].replace(b",", b", ", 1), *lines[6:]],
        "another type": [*lines[:5], lines[5].replace(b"STPEXE", b"POLALW").replace(b"POLDNY", b"POLALW"), *lines[6:]],
        "another partition": [lines[0].replace(b'"partition":0', b'"partition":1'), *lines[1:]],
        "no newline at the end": lines[:-1],
        "a longer path": [lines[0].replace(b'"path":[', b'"path":["' + b"00" * 32 + b'",'), *lines[1:]],
        "nothing": [],
        "not JSON": [b"{", *lines[1:]],
    }
    for what, changed in changes.items():
        try:
            archive.verify(b"\n".join(changed), [key])
        except ArchiveRefused:
            continue
        pytest.fail(what)
    with pytest.raises(NoteInvalid):
        archive.verify(data, [VerifierKey("handrail.local/log", bytes(32))])
    with pytest.raises(NoteInvalid):
        archive.verify(data, [key], "other.example/log")
