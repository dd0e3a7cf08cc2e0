"""What experiments showed about jails of this make, where no other test holds it: each layer with and without."""

import asyncio
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import JailSettings
from hand_adapters.jail import PROFILES, Bind, Jail, JailSpec, landlock
from hand_adapters.jail.arguments import first_arguments, last_arguments
from tests.jail.battery.scripts import arguments, script
from tests.jail.battery.table import PROBES

pytestmark = pytest.mark.jail
PYTHON = "/usr/bin/python3"
BY_NAME = {probe.name: probe for probe in PROBES}
IDENTITY: dict[str, Any] = (
    {"user": JailSettings().uid, "group": JailSettings().gid, "extra_groups": []} if os.getuid() == 0 else {}
)


async def without_seccomp(*argv: str, disable_userns: bool = True) -> str:
    """What a program says in bubblewrap's jail alone, of the same options, but with no filter of system calls."""
    spec = JailSpec(argv)
    options = first_arguments(spec, PROFILES["default"], disable_userns=disable_userns)
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/bwrap", *options, *last_arguments(), "--", *argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        **IDENTITY,
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


@pytest.mark.parametrize("name", ["vsock", "io_uring", "keyring", "userfaultfd", "ptrace", "process_memory"])
async def test_without_the_filter_of_system_calls_these_stay_open(jail: Jail, name: str) -> None:
    said = await without_seccomp(PYTHON, "-I", "-S", "-c", script(BY_NAME[name]), arguments({}, {}))
    assert "ESCAPED" in said, said
    ended = await jail.run(JailSpec((PYTHON, "-I", "-S", "-c", script(BY_NAME[name]), arguments({}, {}))))
    assert b"HELD" in ended.stdout


async def test_nested_user_namespaces_have_a_lock_of_their_own(jail: Jail) -> None:
    """--disable-userns, without which nothing but the filter would refuse them."""
    assert jail.missing() == []
    probe = (PYTHON, "-I", "-S", "-c", script(BY_NAME["user_namespace"]), arguments({}, {}))
    assert "ESCAPED" in await without_seccomp(*probe, disable_userns=False)
    assert "No space left on device" in await without_seccomp(*probe)


@pytest.mark.parametrize("name", ["dns", "io_uring"])
async def test_what_landlock_does_not_hold_is_not_left_to_it(jail: Jail, host: dict[str, Any], name: str) -> None:
    package = str(Path(landlock.__file__).parent)
    begin = (
        "import sys, types\n"
        "for name in ('hand_adapters', 'hand_adapters.jail'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        f"    sys.modules[name].__path__ = [{package!r}]\n"
        "from hand_adapters.jail import kernel, landlock\n"
        "kernel.libc.prctl(landlock.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)\n"
        "landlock.restrict_process(landlock.abi())\n"
    )
    code, given = script(BY_NAME[name]), arguments(host, {})
    alone = await asyncio.to_thread(
        subprocess.check_output, [PYTHON, "-I", "-S", "-c", begin + code, given], **host["identity"]
    )
    assert alone.startswith(b"BEGUN\nESCAPED"), alone
    assert b"HELD" in (await jail.run(JailSpec((PYTHON, "-I", "-S", "-c", code, given)))).stdout


async def test_an_interpreter_in_a_closed_directory_runs_and_shows_nothing_else(jail: Jail, tmp_path: Path) -> None:
    """Where the gateway is root, the jail's uid could not pass this directory; what is staged is the environment."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    venv.create(closed / "environment", with_pip=False, symlinks=True)
    (closed / "secret").write_text("planted")
    (closed / "data").mkdir()
    (closed / "data" / "file").write_text("shown")
    python = str(closed / "environment" / "bin" / "python")
    if IDENTITY:
        with pytest.raises(PermissionError):
            await asyncio.to_thread(subprocess.run, [python, "-c", ""], check=True, **IDENTITY)
    code = f"import os, sys; print(sys.prefix, os.listdir({str(closed)!r}), open('/data/file').read())"
    ended = await jail.run(JailSpec((python, "-c", code), binds=(Bind(closed / "data", "/data"),)))
    assert ended.stdout.decode() == f"{closed / 'environment'} ['environment'] shown\n", ended
