"""The compiled filters, run by a small interpreter of classic BPF, for both architectures."""

import errno
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hand_adapters.jail.seccomp import (
    ALLOW,
    ARCHITECTURES,
    KILL,
    LISTS,
    NEW_NAMESPACES,
    assemble,
    errno_action,
    program,
)
from hand_adapters.jail.spec import JailError
from hand_adapters.jail.syscalls import LAST, NUMBERS

PERMISSION = errno_action(errno.EPERM)
NO_FAMILY = errno_action(errno.EAFNOSUPPORT)
HOSTILE = """
    ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp mount umount2 pivot_root chroot unshare setns bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key
    init_module finit_module delete_module kexec_load reboot swapon settimeofday clock_settime adjtimex
    open_by_handle_at name_to_handle_at setuid setgid setresuid setgroups seccomp move_mount open_tree fsopen
    fanotify_init quotactl acct syslog sethostname shmget msgget semget mount_setattr
""".split()  # noqa: SIM905


def run(code: bytes, architecture: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would return for a call; also proves that the program is well-formed and ends."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    instructions = list(struct.iter_unpack("<HBBI", code))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, constant = instructions[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x06:
                return constant
            case 0x15:
                position += if_true if accumulator == constant else if_false
            case 0x25:
                position += if_true if accumulator > constant else if_false
            case 0x35:
                position += if_true if accumulator >= constant else if_false
            case 0x45:
                position += if_true if accumulator & constant else if_false
            case _:
                raise AssertionError(f"operation {operation:#x}")


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(LISTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verdict(name: str, machine: str, call: str, *arguments: int) -> int:
    return run(program(name, machine), ARCHITECTURES[machine], NUMBERS[machine][call], arguments)


def test_another_architecture_is_killed(name: str, machine: str) -> None:
    for foreign in {*ARCHITECTURES.values(), 0x40000003} - {ARCHITECTURES[machine]}:
        assert run(program(name, machine), foreign, NUMBERS[machine]["read"]) == KILL


def test_x32_calls_are_killed() -> None:
    for number in (0x40000000, 0x40000000 | NUMBERS["x86_64"]["read"], 0xFFFFFFFF):
        assert run(program("default", "x86_64"), ARCHITECTURES["x86_64"], number) == KILL


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test judges how fast a machine is
@given(number=st.integers(0, 2**32 - 1), arguments=st.tuples(*[st.integers(0, 2**64 - 1)] * 6))
def test_whatever_is_not_listed_is_not_allowed(number: int, arguments: tuple[int, ...]) -> None:
    for machine, architecture in ARCHITECTURES.items():
        for name, (allowed, rules) in LISTS.items():
            if run(program(name, machine), architecture, number, arguments) == ALLOW:
                listed = {NUMBERS[machine].get(call) for call in allowed | rules.keys()}
                assert number in listed


def test_every_listed_call_without_a_rule_is_allowed(name: str, machine: str) -> None:
    allowed, rules = LISTS[name]
    for call in allowed - rules.keys():
        if call in NUMBERS[machine]:
            assert verdict(name, machine, call) == ALLOW, call


def test_every_number_of_the_table_is_used(machine: str) -> None:
    names = set().union(*(allowed | rules.keys() for allowed, rules in LISTS.values()))
    assert NUMBERS[machine].keys() <= names
    assert len(set(NUMBERS[machine].values())) == len(NUMBERS[machine])


def test_hostile_calls_are_on_no_list() -> None:
    for allowed, rules in LISTS.values():
        assert not set(HOSTILE) & (allowed | rules.keys())


def test_strict_allows_no_more_than_default(machine: str) -> None:
    (strict, strict_rules), (default, default_rules) = LISTS["strict"], LISTS["default"]
    assert strict | strict_rules.keys() < default | default_rules.keys()
    assert verdict("strict", machine, "socket", 1) == PERMISSION


def test_calls_newer_than_the_list_do_not_exist(name: str, machine: str) -> None:
    assert run(program(name, machine), ARCHITECTURES[machine], LAST + 1) == errno_action(errno.ENOSYS)
    assert verdict(name, machine, "clone3") == errno_action(errno.ENOSYS)


def test_clone_makes_threads_but_no_namespaces(name: str, machine: str) -> None:
    threads = 0x3D0F00  # what pthread_create asks for
    assert verdict(name, machine, "clone", threads) == ALLOW
    for bit in range(32):
        if NEW_NAMESPACES & (1 << bit):
            assert verdict(name, machine, "clone", threads | 1 << bit) == PERMISSION


def test_only_unix_sockets(machine: str) -> None:
    assert verdict("default", machine, "socket", 1) == ALLOW
    for family in (0, 2, 10, 16, 17, 38, 40, 44):
        assert verdict("default", machine, "socket", family) == NO_FAMILY
        assert verdict("default", machine, "socketpair", family) == NO_FAMILY


def test_high_halves_of_arguments_do_not_smuggle(name: str, machine: str) -> None:
    """The kernel reads these arguments as 32 bits, so a filter must not see more."""
    tiocsti = 0x5412
    for command in (tiocsti, tiocsti | 1 << 32, tiocsti | 0xFFFFFFFF << 32, 0x541C):
        assert verdict(name, machine, "ioctl", 0, command) == errno_action(errno.ENOTTY)
    assert verdict(name, machine, "ioctl", 0, 0x5401) == ALLOW
    assert verdict(name, machine, "clone", 0x10000000 | 1 << 40) == PERMISSION


def test_control_calls_do_only_what_is_listed(machine: str) -> None:
    assert verdict("default", machine, "prctl", 15) == ALLOW
    for option in (22, 24, 35, 47, 0x59616D61):  # SECCOMP, CAPBSET_DROP, SET_MM, CAP_AMBIENT, SET_PTRACER
        assert verdict("default", machine, "prctl", option) == PERMISSION
    assert verdict("default", machine, "personality", 0xFFFFFFFF) == ALLOW
    assert verdict("default", machine, "personality", 0x0040000) == PERMISSION
    assert verdict("default", machine, "mknodat", 0, 0, 0o010644) == ALLOW
    assert verdict("default", machine, "mknodat", 0, 0, 0o020644) == PERMISSION


def test_jumps_stay_inside_and_the_kernel_would_take_it(name: str, machine: str) -> None:
    code = assemble(name, machine)
    assert len(code) <= 4096
    for position, (operation, if_true, if_false, _) in enumerate(code):
        if operation & 7 == 5:
            assert position + 1 + max(if_true, if_false) < len(code)
    assert code[-1][0] == 0x06


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(JailError, match="riscv64"):
        program("default", "riscv64")
