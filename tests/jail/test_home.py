"""Nothing of the gateway's home comes into a jail but its work areas, whatever path leads there."""

import os
from pathlib import Path

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import Bind, Jail, JailError, JailSpec
from hand_adapters.jail.arguments import resolve_binds
from hand_adapters.jail.ownership import adopt

SECRETS = ("master.key", "handrail.db", "handrail.db-wal", "cli.json", "gateway-id", "keys/step.json", "epochs/1")


@pytest.fixture
def furnished(home: Path) -> Path:
    """A home as a gateway leaves it, with a work directory in each work area."""
    for name in SECRETS:
        file = home / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("secret")
    for name in ("demo/repo", "work/clone"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text("data")
    return home


def refused(source: Path, home: Path, *, writable: bool = False) -> None:
    with pytest.raises(JailError, match="home"):
        resolve_binds([Bind(source, "/seen", writable)], home)


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("name", [*SECRETS, "keys", "epochs", "demo", "work", ".", ".."])
def test_nothing_of_the_home_but_what_lies_in_a_work_area_is_shown(furnished: Path, name: str, writable: bool) -> None:
    refused(furnished / name, furnished, writable=writable)


@pytest.mark.parametrize("name", ["new", "workshop", "demo.old", "Work", "keys/work", "keys/demo/repo"])
def test_a_name_that_resembles_a_work_area_is_none(furnished: Path, name: str) -> None:
    (furnished / name / "below").mkdir(parents=True, exist_ok=True)
    refused(furnished / name, furnished)
    refused(furnished / name / "below", furnished)


@pytest.mark.parametrize("name", ["demo/repo", "work/clone", "work/clone/file"])
def test_what_lies_in_a_work_area_is_shown(furnished: Path, name: str) -> None:
    source = furnished / name
    assert resolve_binds([Bind(source, "/seen", True)], furnished) == [(str(source.resolve()), "/seen", True)]


@pytest.mark.parametrize("target", ["keys", "master.key", "."])
def test_a_link_in_a_work_area_or_elsewhere_leads_to_no_secret(furnished: Path, tmp_path: Path, target: str) -> None:
    for link in (furnished / "work" / "link", tmp_path / "link", furnished / "work" / "clone" / "link"):
        link.symlink_to(furnished / target)
        refused(link, furnished)
    refused(furnished / "work" / ".." / target, furnished)
    refused(furnished / "work" / "clone" / ".." / ".." / target, furnished)


def test_a_work_area_that_is_a_link_to_secrets_shows_none(home: Path) -> None:
    (home / "keys" / "step").mkdir(parents=True)
    (home / "work").symlink_to(home / "keys")
    refused(home / "work", home)
    refused(home / "work" / "step", home)
    with pytest.raises(JailError):
        adopt(home / "work" / "step", home, JailSettings())


def test_a_home_named_by_a_link_is_the_same_home(furnished: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(furnished)
    refused(tmp_path / "alias" / "keys", furnished)
    refused(furnished / "keys", tmp_path / "alias")
    source = tmp_path / "alias" / "work" / "clone"
    assert resolve_binds([Bind(source, "/seen")], furnished)[0][0] == str((furnished / "work" / "clone").resolve())


def test_a_second_name_of_a_secret_file_is_refused(furnished: Path, tmp_path: Path) -> None:
    for second in (furnished / "work" / "second", tmp_path / "second"):
        second.hardlink_to(furnished / "master.key")
        refused(second, furnished)


@pytest.mark.parametrize("name", ["keys", "keys/step.json", "master.key", "demo", "work", "new"])
def test_only_what_lies_in_a_work_area_can_be_given_to_the_jail(furnished: Path, name: str) -> None:
    (furnished / "new").mkdir()
    with pytest.raises(JailError, match="work area"):
        adopt(furnished / name, furnished, JailSettings())
    adopt(furnished / "work" / "clone", furnished, JailSettings())
    assert (furnished / name).stat().st_uid == os.getuid()


@pytest.mark.jail
async def test_a_jail_asked_to_show_the_keys_does_not_start(furnished: Path, jail: Jail) -> None:
    for source in ("keys", "master.key", "epochs", "handrail.db", "cli.json"):
        with pytest.raises(JailError, match="home"):
            await jail.run(JailSpec(("/usr/bin/true",), binds=(Bind(furnished / source, "/seen", writable=True),)))
