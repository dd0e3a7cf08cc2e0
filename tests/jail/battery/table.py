"""The probes as data: what each tries, what stops it, and the arguments that keep its positive control mild.

A probe is Python that calls ``escaped()`` where the forbidden thing worked; any exception counts as held. The same text
runs outside the jail, where it must escape, and inside it, where it must not. ``docs/sandbox.md`` lists this table.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Probe:
    """One attack.

    Attributes:
        stopped_by: the layers that stop it, as the documentation says it.
        root: whether its control needs root (an unprivileged user is refused with and without the jail).
        inside, outside: arguments that differ: bombs are bounded inside and mild outside.
        as_gateway: whether the control runs with the gateway's uid, where others run with the jail's.
        namespaces: namespaces that the *control* is put into, so that it harms nothing outside.
    """

    name: str
    tries: str
    stopped_by: str
    code: str
    root: bool = False
    inside: dict[str, Any] = field(default_factory=dict)
    outside: dict[str, Any] = field(default_factory=dict)
    namespaces: int = 0
    as_gateway: bool = False


NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000

PROBES = (
    # --- files ---
    Probe(
        "host_file",
        "read a world-readable file of the host",
        "mount namespace",
        "escaped() if open(ARGUMENTS['host_file']).read() == 'planted' else held()",
    ),
    Probe(
        "shadow",
        "read /etc/shadow",
        "mount namespace (its own /etc), unprivileged uid",
        "escaped() if 'root:' in open('/etc/shadow').read() else held()",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "write_outside_scratch",
        "write into a world-writable directory of the host",
        "mount namespace; root and /dev read-only",
        "open(ARGUMENTS['host_directory'] + '/probe', 'w').write('x'); escaped()",
    ),
    Probe(
        "write_system",
        "write into the root, /usr, /etc or /dev",
        "read-only mounts, unprivileged uid",
        """
for directory in ARGUMENTS['directories']:
    try:
        open(directory + '/handrail-probe', 'w').close()
    except OSError:
        continue
    os.unlink(directory + '/handrail-probe')
    escaped(directory)
held()
""",
        inside={"directories": ["/", "/usr", "/usr/bin", "/etc", "/dev", "/home", "/proc", "/proc/sys"]},
        outside={"directories": ["/tmp"]},
    ),
    Probe(
        "symlink_in_bind",
        "plant a symbolic link in the writable bind and follow it to the host",
        "mount namespace: a link resolves inside the jail",
        """
link = ARGUMENTS['scratch'] + '/link-' + str(os.getpid())
os.symlink(ARGUMENTS['host_file'], link)
escaped() if open(link).read() == 'planted' else held()
""",
    ),
    Probe(
        "written_program",
        "execute a program that it has written",
        "Landlock (files), but in the profile `build`",
        """
place = ARGUMENTS['scratch'] + '/program-' + str(os.getpid())
with open('/usr/bin/true', 'rb') as program, open(place, 'wb') as copy:
    copy.write(program.read())
os.chmod(place, 0o755)
os.posix_spawn(place, ['true'], {})
escaped()
""",
    ),
    Probe(
        "chroot_escape",
        "chroot into a directory and walk out above it",
        "seccomp (chroot not listed), no capabilities",
        """
os.makedirs('/tmp/probe-root', exist_ok=True)
os.chroot('/tmp/probe-root')
escaped()
""",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "open_by_handle",
        "open a file by a handle, past the mount namespace",
        "seccomp (open_by_handle_at not listed), no capabilities",
        """
handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0) + bytes(128))
mount = ctypes.c_int()
syscall(303, 264, -100, ctypes.c_char_p(b'/usr/bin'), handle, ctypes.byref(mount), 0)
where = os.open('/usr', os.O_RDONLY)
os.close(syscall(304, 265, where, handle, os.O_RDONLY))
escaped()
""",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "device",
        "open the disk, /dev/kvm or kernel memory",
        "device nodes of the jail's own /dev only; nodev mounts",
        """
for path in ARGUMENTS['devices']:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        continue
    escaped(path)
held()
""",
        inside={"devices": ["/dev/kvm", "/dev/vda", "/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/loop0"]},
        outside={"devices": ["/dev/kvm", "/dev/kmsg", "/dev/fuse", "/dev/vda", "/dev/sda", "/dev/loop-control"]},
        root=True,
        as_gateway=True,
    ),
    Probe(
        "make_device",
        "make a device node of its own",
        "seccomp (mknod for pipes only), no capabilities, nodev mounts",
        "os.mknod('/tmp/probe-null', 0o20666, os.makedev(1, 3)); os.unlink('/tmp/probe-null'); escaped()",
        root=True,
        as_gateway=True,
    ),
    # --- processes ---
    Probe(
        "host_process",
        "see a process of the host in /proc",
        "pid namespace, its own /proc",
        """
for name in os.listdir('/proc'):
    if name.isdigit() and int(name) != os.getpid():
        try:
            said = open('/proc/' + name + '/cmdline').read()
        except OSError:  # processes come and go
            continue
        if ARGUMENTS['marker'] in said:
            escaped(name)
held()
""",
    ),
    Probe(
        "signal_host",
        "signal a process of the host by its pid",
        "pid namespace, Landlock (signals)",
        "os.kill(ARGUMENTS['victim'], 0); escaped()",
    ),
    Probe(
        "signal_supervisor",
        "signal its own supervisor",
        "pid namespace: the parent has no number in it",
        "parent = ARGUMENTS.get('supervisor', os.getppid()); os.kill(parent, 0) if parent > 0 else held(); escaped()",
        as_gateway=True,
    ),
    Probe(
        "environment",
        "find a planted secret in any environment it can read",
        "launcher started with an empty environment; pid namespace",
        """
for name in [n for n in os.listdir('/proc') if n.isdigit()]:
    try:
        if b'planted-secret' in open('/proc/' + name + '/environ', 'rb').read():
            escaped(name)
    except OSError:
        continue
held()
""",
    ),
    Probe(
        "inherited_descriptor",
        "read a file that the gateway left open and inheritable",
        "close_range before the exec; the launcher inherits nothing",
        """
for number in range(3, 256):
    try:
        if os.pread(number, 7, 0) == b'planted':
            escaped(number)
    except OSError:
        continue
held()
""",
    ),
    Probe(
        "ptrace",
        "attach to another process",
        "seccomp (ptrace not listed)",
        "pid, address, length = child(); syscall(101, 117, 16, pid, 0, 0); escaped()",
    ),
    Probe(
        "process_memory",
        "read another process's memory (process_vm_readv)",
        "seccomp (not listed)",
        """
pid, address, length = child()
into = ctypes.create_string_buffer(length)
local = struct.pack('QQ', ctypes.addressof(into), length)
syscall(310, 270, pid, local, 1, struct.pack('QQ', address, length), 1, 0)
escaped() if into.value == b'child memory' else held()
""",
    ),
    Probe(
        "take_descriptor",
        "take a descriptor out of another process (pidfd_getfd)",
        "seccomp (not listed)",
        "pid, address, length = child(); syscall(438, 438, os.pidfd_open(pid), 1, 0); escaped()",
    ),
    Probe(
        "setuid_program",
        "become root through a setuid program",
        "no_new_privs, nosuid mounts, no uid 0 in the namespace",
        """
import subprocess
said = subprocess.run([ARGUMENTS['setuid_id'], '-u'], capture_output=True, text=True).stdout.strip()
escaped() if said == '0' else held(said)
""",
        root=True,
    ),
    # --- bombs ---
    Probe(
        "fork_bomb",
        "start processes without end",
        "cgroup pids.max, RLIMIT_NPROC",
        """
for number in range(ARGUMENTS['count']):
    if os.fork() == 0:
        import time
        time.sleep(20)
        os._exit(0)
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM) if ARGUMENTS['count'] < 50 else None
escaped()
""",
        inside={"count": 300},
        outside={"count": 10},
    ),
    Probe(
        "memory_bomb",
        "touch more private memory than it may",
        "RLIMIT_DATA; cgroup memory, or RLIMIT_AS",
        "blocks = [bytes([1]) * 2**20 for _ in range(ARGUMENTS['mebibytes'])]; escaped()",
        inside={"mebibytes": 1500},
        outside={"mebibytes": 16},
    ),
    Probe(
        "shared_memory_bomb",
        "touch more shared memory than it may, which RLIMIT_DATA does not count",
        "cgroup memory, or RLIMIT_AS",
        """
import mmap
area = mmap.mmap(-1, ARGUMENTS['mebibytes'] * 2**20)
for offset in range(0, len(area), 4096):
    area[offset] = 1
escaped()
""",
        inside={"mebibytes": 1500},
        outside={"mebibytes": 16},
    ),
    Probe(
        "disk_bomb",
        "fill /tmp",
        "tmpfs with a size, RLIMIT_FSIZE",
        """
with open('/tmp/probe-' + str(os.getpid()), 'wb') as file:
    os.unlink(file.name)
    for _ in range(ARGUMENTS['mebibytes']):
        file.write(bytes(2**20))
escaped()
""",
        inside={"mebibytes": 100},
        outside={"mebibytes": 4},
    ),
    Probe(
        "shared_tmp_bomb",
        "fill /dev/shm",
        "tmpfs with a size, RLIMIT_FSIZE",
        """
with open('/dev/shm/probe-' + str(os.getpid()), 'wb') as file:
    os.unlink(file.name)
    for _ in range(ARGUMENTS['mebibytes']):
        file.write(bytes(2**20))
escaped()
""",
        inside={"mebibytes": 40},
        outside={"mebibytes": 4},
    ),
    Probe(
        "descriptor_bomb",
        "open files without end",
        "RLIMIT_NOFILE",
        "kept = [os.open('/dev/null', os.O_RDONLY) for _ in range(ARGUMENTS['count'])]; escaped()",
        inside={"count": 2000},
        outside={"count": 50},
    ),
    # --- network ---
    Probe(
        "network",
        "connect to a TCP port of the host",
        "network namespace, seccomp (AF_UNIX only), Landlock (tcp)",
        "socket.create_connection(('127.0.0.1', ARGUMENTS['port']), 2); escaped()",
    ),
    Probe(
        "dns",
        "ask a name server by UDP",
        "network namespace, seccomp (AF_UNIX only)",
        """
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(5)
asking.sendto(bytes(12) + b'\\x07example\\x00\\x00\\x01\\x00\\x01', ('127.0.0.1', ARGUMENTS['udp_port']))
asking.recv(512)
escaped()
""",
    ),
    Probe(
        "metadata",
        "connect to the cloud's metadata address",
        "network namespace, seccomp (AF_UNIX only), Landlock (tcp)",
        """
if ARGUMENTS.get('serve'):  # the control's own network namespace gets that address, and a listener
    import fcntl
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = struct.pack('HH4s', socket.AF_INET, 0, socket.inet_aton('169.254.169.254'))
    fcntl.ioctl(control, 0x8916, struct.pack('16s16s8x', b'lo:1', address))
    fcntl.ioctl(control, 0x8914, struct.pack('16sH22x', b'lo', 1))
    listener = socket.create_server(('169.254.169.254', 80))
socket.create_connection(('169.254.169.254', 80), 2)
escaped()
""",
        outside={"serve": True},
        namespaces=NEWUSER | NEWNET,
    ),
    Probe(
        "listen",
        "wait for connections on a TCP port",
        "network namespace, seccomp (AF_UNIX only), Landlock (tcp)",
        """
waiting = socket.socket(socket.AF_INET)
waiting.bind(('127.0.0.1', 0))
waiting.listen()
escaped()
""",
    ),
    Probe(
        "message_queue",
        "open a System V message queue of the host",
        "ipc namespace, seccomp (msgget not listed)",
        "syscall(68, 186, ARGUMENTS['queue'], 0); escaped()",
    ),
    Probe(
        "abstract_socket",
        "connect to an abstract unix socket of the host",
        "network namespace, Landlock (abstract sockets)",
        "socket.socket(socket.AF_UNIX).connect('\\0' + ARGUMENTS['abstract']); escaped()",
    ),
    Probe(
        "path_socket",
        "connect to a unix socket of the host by its path",
        "mount namespace",
        "socket.socket(socket.AF_UNIX).connect(ARGUMENTS['socket_path']); escaped()",
    ),
    Probe(
        "vsock",
        "open an AF_VSOCK socket to the hypervisor",
        "seccomp (AF_UNIX only)",
        "socket.socket(40, socket.SOCK_STREAM); escaped()",
    ),
    Probe(
        "netlink",
        "open an AF_NETLINK socket",
        "seccomp (AF_UNIX only)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); escaped()",
    ),
    Probe(
        "packet",
        "open an AF_PACKET socket",
        "seccomp (AF_UNIX only), no capabilities",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); escaped()",
        namespaces=NEWUSER | NEWNET,
    ),
    # --- kernel surface ---
    Probe(
        "io_uring",
        "set up an io_uring",
        "seccomp (not listed)",
        "syscall(425, 425, 4, ctypes.create_string_buffer(120)); escaped()",
    ),
    Probe(
        "keyring",
        "read or make kernel keys",
        "seccomp (not listed)",
        "syscall(250, 219, 0, -3, 1); escaped()",
    ),
    Probe(
        "bpf",
        "make a BPF map",
        "seccomp (not listed), no capabilities",
        "syscall(321, 280, 0, struct.pack('IIIII', 2, 4, 8, 1, 0) + bytes(100), 120); escaped()",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "perf",
        "open a performance counter",
        "seccomp (not listed)",
        """
attributes = struct.pack('IIQ', 1, 128, 0) + bytes(24) + struct.pack('Q', 1 | 1 << 5 | 1 << 6) + bytes(80)
syscall(298, 241, attributes, 0, -1, -1, 0)
escaped()
""",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "userfaultfd",
        "handle its own page faults, which widens kernel races",
        "seccomp (not listed)",
        "syscall(323, 282, 1); escaped()",
    ),
    Probe(
        "user_namespace",
        "unshare a user namespace inside",
        "seccomp (unshare not listed), max_user_namespaces = 0",
        "syscall(272, 97, 0x10000000); escaped()",
    ),
    Probe(
        "cloned_namespace",
        "clone a child into a new user namespace",
        "seccomp (flags of clone), max_user_namespaces = 0",
        """
pid = syscall(56, 220, 0x10000000 | 17, 0, 0, 0, 0)
os._exit(0) if pid == 0 else escaped()
""",
    ),
    Probe(
        "clone3_namespace",
        "the same through clone3, whose flags a filter cannot see",
        "seccomp (clone3 answers ENOSYS), max_user_namespaces = 0",
        """
pid = syscall(435, 435, struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
os._exit(0) if pid == 0 else escaped()
""",
    ),
    Probe(
        "mount",
        "mount a file system",
        "seccomp (mount not listed), no capabilities",
        "syscall(165, 40, b'x', b'/mnt', b'tmpfs', 0, None); escaped()",
        namespaces=NEWUSER | NEWNS,
    ),
    Probe(
        "sysctl",
        "open /proc/sys/kernel/core_pattern for writing",
        "unprivileged uid, mounts",
        "open('/proc/sys/kernel/core_pattern', 'r+'); escaped()",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "switches",
        "open other switches of the kernel for writing",
        "unprivileged uid, mounts",
        """
for path in ('sys/kernel/modprobe', 'sys/vm/drop_caches', 'sys/fs/suid_dumpable', 'sysrq-trigger'):
    try:
        os.close(os.open('/proc/' + path, os.O_WRONLY))
    except OSError:
        continue
    escaped(path)
held()
""",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "clock",
        "set the clock (the control sets the time zone that it has)",
        "seccomp (not listed), no capabilities",
        "syscall(164, 170, None, struct.pack('ii', 0, 0)); escaped()",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "kernel_log",
        "read the kernel's log",
        "seccomp (syslog not listed), no capabilities",
        "syscall(103, 116, 3, ctypes.create_string_buffer(4096), 4096); escaped()",
        root=True,
        as_gateway=True,
    ),
    Probe(
        "tiocsti",
        "type into a terminal (TIOCSTI)",
        "seccomp (ioctl commands), new session",
        """
import fcntl, pty
said, say = os.pipe()
if os.fork() == 0:
    try:
        master, slave = pty.openpty()
        os.setsid()
        try:
            fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
        except OSError:
            pass
        fcntl.ioctl(slave, 0x5412, b'x')
        os.write(say, b'typed')
    finally:
        os._exit(0)
os.close(say)
escaped() if os.read(said, 8) == b'typed' else held()
""",
    ),
    Probe(
        "personality",
        "switch off address-space randomisation",
        "seccomp (personality 0 only)",
        "syscall(135, 92, 0x0040000); escaped()",
    ),
    Probe(
        "cgroup",
        "see or change its cgroup",
        "no /sys; cgroup namespace",
        "escaped() if 'cgroup' in os.listdir('/sys/fs') else held()",
    ),
    Probe(
        "foreign_calls",
        "use the calls of another architecture (x32), which a careless filter misses",
        "seccomp (kills the process)",
        """
import signal
def x32(number):
    return libc.syscall(ctypes.c_long(0x40000000 | number))
if os.fork() == 0:
    x32(39)
    os._exit(0)
_, status = os.wait()
escaped() if os.WIFEXITED(status) else held('killed')
""",
    ),
)
