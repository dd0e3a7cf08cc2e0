"""What a lagging quorum does to a gateway: it is seen, it makes it unready where that is asked for, and it never keeps
anything from being logged.
"""

import base64
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import key_id
from audit.witness import Fault
from gateway.app import build
from gateway.entries import EntryDraft, EntryType
from gateway.model import DEFAULT_TENANT
from gateway.ports import Append
from gateway.reasons import Reason
from gateway.settings import Settings

MATERIAL = b"\x04" + Ed25519PrivateKey.generate().public_key().public_bytes_raw()
NAME = "witness.example/w"
VKEY = f"{NAME}+{key_id(NAME, MATERIAL).hex()}+{base64.b64encode(MATERIAL).decode()}"
DEAD = {"key": VKEY, "url": "http://127.0.0.1:1", "private_network": True, "timeout_seconds": 1}


@pytest.mark.parametrize(("lag", "log"), [("notice", "ok"), ("unready", Reason.LOG_UNWITNESSED)])
async def test_a_quorum_that_lags_is_a_notice_and_unready_where_that_was_asked_for(
    tmp_path: Path, lag: str, log: str
) -> None:
    now = [time.time()]
    settings = Settings(home=tmp_path, log={"witnesses": {"w": DEAD}, "witness_quorum": 1, "witness_lag": lag})
    gateway = build(settings, lambda: now[0])
    try:
        await gateway.prepare()
        value = gateway.metrics.registry.get_sample_value
        assert ((await gateway.ready())["log"], gateway.notices().get("log_witnesses")) == ("ok", None)
        await gateway.witnesses.attempt(gateway.witnesses.all[0])
        assert gateway.witnesses.all[0].fault is Fault.UNREACHABLE
        assert value("handrail_log_witness_fault", {"witness": "w", "fault": "unreachable"}) == 1
        assert value("handrail_log_witness_fault", {"witness": "w", "fault": "forked"}) == 0
        now[0] += settings.log.witness_lag_max_seconds + 1
        assert (await gateway.ready())["log"] == log
        assert gateway.notices()["log_witnesses"] == Reason.LOG_UNWITNESSED
        assert value("handrail_log_quorum_lag_seconds") > settings.log.witness_lag_max_seconds
        assert value("handrail_log_witness_timestamp_seconds", {"witness": "w"}) == 0
        assert await gateway.log.append(Append([EntryDraft(EntryType.LOG_VERIFIED, DEFAULT_TENANT)]))
    finally:
        await gateway.close()
