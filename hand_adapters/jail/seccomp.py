"""Seccomp allowlists as classic BPF, put together here: no package for it is alive, and the machine is small.

The program first settles the architecture (a foreign one, or the x32 calls of x86-64, kills the process: there every
number means something else), answers calls newer than the list with ENOSYS so that programs fall back, looks at the
arguments of the few calls where they decide, allows the listed rest, and answers everything else with EPERM. An error
rather than a kill keeps programs alive that merely probe (git, Node and glibc do); it grants them nothing.
Sources: seccomp(2), linux/bpf_common.h, linux/seccomp.h.
"""

import errno
import functools
import platform
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hand_adapters.jail.spec import JailError
from hand_adapters.jail.syscalls import FILES, LAST, MEMORY, NUMBERS, PROCESS, SERVER

LOAD, JUMP_EQ, JUMP_GT, JUMP_GE, JUMP_SET, AND, RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, 16
"""Offsets in ``struct seccomp_data``; arguments are 64-bit words, their low half first on both machines."""
ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
"""SECCOMP_RET_KILL_PROCESS."""
X32_BIT: Final = 0x40000000
ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""``platform.machine()`` -> AUDIT_ARCH_*."""


def errno_action(number: int) -> int:
    """SECCOMP_RET_ERRNO with ``number``."""
    return 0x00050000 | number


@dataclass(frozen=True, slots=True)
class OneOf:
    """Allowed where the low 32 bits of an argument, under ``mask``, are one of ``values``; else ``otherwise``."""

    argument: int
    values: tuple[int, ...]
    otherwise: int
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Allowed where the low 32 bits of an argument share no bit with ``bits``."""

    argument: int
    bits: int
    otherwise: int


@dataclass(frozen=True, slots=True)
class UnixOrTcp:
    """Of ``socket``: AF_UNIX of any kind, and AF_INET as TCP alone (no datagrams, no MPTCP, SCTP or raw sockets)."""

    otherwise: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Never allowed, whatever the arguments."""

    action: int


Rule = OneOf | NoneOf | UnixOrTcp | Answer

NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; with CLONE_PTRACE denied in one test."""
CLONE_PTRACE: Final = 0x00002000
AF_UNIX: Final = 1
AF_INET: Final = 2
SOCK_STREAM: Final = 1
GATED: Final = "gated"
"""The list of a jail with a way out, in place of ``default``."""
SOCKET_KINDS: Final = 0xF
"""The bits of ``socket``'s second argument that are the kind; SOCK_CLOEXEC and SOCK_NONBLOCK lie above."""
IPPROTO_TCP: Final = 6

TERMINAL_CONTROLS: Final = (
    *(0x5401, 0x5402, 0x5403, 0x5404),  # TCGETS, TCSETS, TCSETSW, TCSETSF
    *(0x540F, 0x5410, 0x5413, 0x5414),  # TIOCGPGRP, TIOCSPGRP, TIOCGWINSZ, TIOCSWINSZ
    *(0x541B, 0x5421, 0x5450, 0x5451),  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    *(0x802C542A, 0x80045430, 0x40045431),  # TCGETS2, TIOCGPTN, TIOCSPTLCK
    0x40049409,  # FICLONE, which cp tries
)
PROCESS_CONTROLS: Final = (
    *(1, 2, 3, 4),  # PDEATHSIG and DUMPABLE, both ways
    *(15, 16, 21, 23),  # SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ
    *(29, 30, 38, 39),  # timer slack and no_new_privs, both ways
    *(55, 56, 0x53564D41),  # tagged addresses (Arm), and names for memory areas
)

_EVERYWHERE: Final[dict[str, Rule]] = {
    "clone": NoneOf(0, NEW_NAMESPACES | CLONE_PTRACE, errno_action(errno.EPERM)),
    # Its flags lie in memory, which a filter cannot read; glibc falls back to clone.
    "clone3": Answer(errno_action(errno.ENOSYS)),
    # TIOCSTI and TIOCLINUX, which type into a terminal, are among those that are not listed.
    "ioctl": OneOf(1, TERMINAL_CONTROLS, errno_action(errno.ENOTTY)),
    "prctl": OneOf(0, PROCESS_CONTROLS, errno_action(errno.EPERM)),
    "socketpair": OneOf(0, (AF_UNIX,), errno_action(errno.EAFNOSUPPORT)),
}
_SERVER: Final[dict[str, Rule]] = {
    # The network namespace holds nothing to talk to; no other family is worth its kernel code.
    "socket": OneOf(0, (AF_UNIX,), errno_action(errno.EAFNOSUPPORT)),
    "personality": OneOf(0, (0, 0xFFFFFFFF), errno_action(errno.EPERM)),
    "mknod": OneOf(1, (0o010000,), errno_action(errno.EPERM), mask=0o170000),  # named pipes only
    "mknodat": OneOf(2, (0o010000,), errno_action(errno.EPERM), mask=0o170000),
}
LISTS: Final[dict[str, tuple[frozenset[str], dict[str, Rule]]]] = {
    "strict": (frozenset(FILES + MEMORY + PROCESS), _EVERYWHERE),
    "default": (frozenset(FILES + MEMORY + PROCESS + SERVER), _EVERYWHERE | _SERVER),
    GATED: (
        frozenset(FILES + MEMORY + PROCESS + SERVER),
        # TCP to the loopback interface, where the gate listens; nothing else is in that network namespace.
        _EVERYWHERE | _SERVER | {"socket": UnixOrTcp(errno_action(errno.EAFNOSUPPORT))},
    ),
}
"""List name -> allowed names, and the rules that go before the plain allowance."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false (both relative, in instructions), constant."""


@functools.cache
def program(name: str, machine: str | None = None) -> bytes:
    """The BPF program of a list, as an array of ``struct sock_filter``, for ``bwrap --seccomp``.

    Raises:
        JailError: for a machine without a table of system calls.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        raise JailError(f"no system-call table for {machine}; jails run on {' and '.join(ARCHITECTURES)}")
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in assemble(name, machine))


def assemble(name: str, machine: str) -> list[Instruction]:
    """The instructions of :func:`program`."""
    allowed, rules = LISTS[name]
    numbers = NUMBERS[machine]
    code: list[Instruction] = [
        (LOAD, 0, 0, AT_ARCHITECTURE),
        (JUMP_EQ, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, AT_NUMBER),
    ]
    if machine == "x86_64":
        code += [(JUMP_GE, 0, 1, X32_BIT), (RETURN, 0, 0, KILL)]
    code += [(JUMP_GT, 0, 1, LAST), (RETURN, 0, 0, errno_action(errno.ENOSYS))]
    for call, rule in rules.items():
        if call in numbers:
            block = _block(rule)
            code += [(JUMP_EQ, 0, len(block), numbers[call]), *block]
    for first, last in _ranges(numbers[call] for call in allowed if call in numbers and call not in rules):
        code += [(JUMP_GE, 0, 2, first), (JUMP_GT, 1, 0, last), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, errno_action(errno.EPERM)))
    return code


def _block(rule: Rule) -> Sequence[Instruction]:
    """Instructions that always return; reached only for the call that the rule is about."""
    if isinstance(rule, Answer):
        return [(RETURN, 0, 0, rule.action)]
    if isinstance(rule, UnixOrTcp):
        return [
            (LOAD, 0, 0, AT_ARGUMENTS),
            (JUMP_EQ, 7, 0, AF_UNIX),
            (JUMP_EQ, 0, 7, AF_INET),
            (LOAD, 0, 0, AT_ARGUMENTS + 8),
            (AND, 0, 0, SOCKET_KINDS),
            (JUMP_EQ, 0, 4, SOCK_STREAM),
            (LOAD, 0, 0, AT_ARGUMENTS + 16),
            (JUMP_EQ, 1, 0, IPPROTO_TCP),
            (JUMP_EQ, 0, 1, 0),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, rule.otherwise),
        ]
    load = (LOAD, 0, 0, AT_ARGUMENTS + 8 * rule.argument)
    if isinstance(rule, NoneOf):
        return [load, (JUMP_SET, 0, 1, rule.bits), (RETURN, 0, 0, rule.otherwise), (RETURN, 0, 0, ALLOW)]
    block: list[Instruction] = [load, (AND, 0, 0, rule.mask)]
    for value in rule.values:
        block += [(JUMP_EQ, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    block.append((RETURN, 0, 0, rule.otherwise))
    return block


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Consecutive numbers folded to (first, last), ascending."""
    folded: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if folded and number == folded[-1][1] + 1:
            folded[-1] = (folded[-1][0], number)
        else:
            folded.append((number, number))
    return folded
