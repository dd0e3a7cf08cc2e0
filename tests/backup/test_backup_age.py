"""When the last backup was made: in the gauge of every gateway, and in ``handrail doctor``."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import LogUnavailable
from audit.history import newest_time
from gateway.entries import EntryType
from gateway.gauges.backups import LOOK_SECONDS, BackupGauge
from gateway.telemetry import Metrics
from tests.backup.conftest import back_up, put_back, reopened
from tests.cli import real
from tests.pipeline.house import House, close_house

NAME = "handrail_backup_made_timestamp_seconds"


async def test_the_gauge_follows_the_log_whoever_made_the_backup(
    house: House, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    metrics, now = Metrics(), time.time()
    gauge = BackupGauge(house.log, metrics)
    await gauge.look(now)
    assert metrics.registry.get_sample_value(NAME) == 0
    await back_up(house, tmp_path / "one")
    await gauge.look(now + LOOK_SECONDS - 1)
    assert metrics.registry.get_sample_value(NAME) == 0, "it asks once a minute"
    await gauge.look(now + LOOK_SECONDS)
    with house.log.reader.connect() as connection:
        made_at = newest_time(connection, EntryType.BACKUP_MADE)
    assert made_at is not None
    assert metrics.registry.get_sample_value(NAME) == made_at
    assert now - 1 <= made_at <= time.time()
    # The entry is written when the backup is whole, so a log that was restored from it has no backup of its own yet.
    url = new_database()
    await put_back(house.settings, tmp_path / "one", url)
    again = await reopened(house, url)
    fresh = Metrics()
    await BackupGauge(again.log, fresh).look(now)
    assert fresh.registry.get_sample_value(NAME) == 0
    await close_house(again)


async def test_where_the_log_cannot_be_asked_the_gauge_stays_and_is_asked_again(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await back_up(house, tmp_path / "one")
    metrics, now = Metrics(), time.time()
    gauge = BackupGauge(house.log, metrics)
    await gauge.look(now)
    known = metrics.registry.get_sample_value(NAME)
    assert known

    def away() -> None:
        raise LogUnavailable("away")

    with monkeypatch.context() as outage:
        outage.setattr(house.log.reader, "connect", away)
        with pytest.raises(LogUnavailable):
            await gauge.look(now + LOOK_SECONDS)
    assert metrics.registry.get_sample_value(NAME) == known
    await back_up(house, tmp_path / "two")
    await gauge.look(now + LOOK_SECONDS)
    newer = metrics.registry.get_sample_value(NAME)
    assert newer is not None
    assert newer > known


def test_doctor_says_how_old_the_last_backup_is(tmp_path: Path) -> None:
    (tmp_path / "handrail.toml").touch()
    home = tmp_path / "home"

    def told() -> tuple[str, str, str]:
        found = json.loads(real.invoke(home, "doctor", "--json").stdout)["findings"]
        [one] = [one for one in found if one["name"] == "backup"]
        return one["state"], one["detail"], one["remedy"]

    assert told()[:2] == ("ok", "nothing to back up yet")
    assert real.invoke(home, "init").exit_code == 0
    state, detail, remedy = told()
    assert (state, "never on record" in detail, "backup create" in remedy) == ("overdue", True, True)
    assert real.invoke(home, "backup", "create", "--out", str(tmp_path / "one")).exit_code == 0
    state, detail, _ = told()
    assert (state, "on record" in detail) == ("ok", True)
