"""System-call names that jails may use, and their numbers on x86-64 and on 64-bit Arm (Linux 6.12 uapi headers).

A name that an architecture does not have (``open`` on Arm) is simply absent from its table.
"""

from typing import Final

# ruff: noqa: SIM905 - words in a block read better than three hundred quoted strings

FILES: Final = tuple(
    """
    read write open close stat fstat lstat poll lseek pread64 pwrite64 readv writev preadv pwritev preadv2
    pwritev2 access pipe pipe2 select pselect6 ppoll dup dup2 dup3 sendfile fcntl flock fsync fdatasync
    truncate ftruncate getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir
    creat link linkat unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2
    chown fchown lchown fchownat umask openat openat2 newfstatat statx faccessat faccessat2 statfs fstatfs
    utime utimes utimensat futimesat fallocate fadvise64 readahead copy_file_range splice tee getxattr
    lgetxattr fgetxattr listxattr llistxattr flistxattr close_range epoll_create epoll_create1 epoll_ctl
    epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 timerfd_create timerfd_settime timerfd_gettime
    signalfd signalfd4 cachestat
    """.split()
)
"""Files, pipes, polling: reach only what the mount namespace shows."""

MEMORY: Final = tuple(
    """
    mmap munmap mprotect brk mremap madvise msync mincore mlock mlock2 munlock membarrier mseal
    """.split()
)
"""Memory, bounded by rlimits and the cgroup."""

PROCESS: Final = tuple(
    """
    fork vfork execve exit exit_group wait4 waitid kill tkill tgkill getpid getppid gettid getuid geteuid
    getgid getegid getresuid getresgid getgroups getpgid getpgrp setpgid getsid setsid getpriority
    setpriority getrlimit setrlimit prlimit64 getrusage times sched_yield sched_getaffinity
    sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval sched_getattr set_tid_address set_robust_list get_robust_list rseq futex
    futex_waitv futex_wake futex_wait futex_requeue capget arch_prctl restart_syscall rt_sigaction
    rt_sigprocmask rt_sigpending rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo
    rt_tgsigqueueinfo sigaltstack getcpu sysinfo uname alarm getitimer setitimer pause nanosleep
    clock_nanosleep clock_gettime clock_getres gettimeofday time timer_create timer_settime timer_gettime
    timer_getoverrun timer_delete getrandom socketpair sendto recvfrom sendmsg recvmsg shutdown getsockopt
    landlock_create_ruleset landlock_add_rule landlock_restrict_self
    """.split()
)
"""Processes, signals, time, the socket pairs that event loops wake themselves with, and giving up rights."""

SERVER: Final = tuple(
    """
    socket connect bind listen accept accept4 getsockname getpeername setsockopt sendmmsg recvmmsg
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_create pkey_alloc pkey_free
    pkey_mprotect pidfd_open pidfd_send_signal mknod mknodat personality
    """.split()
)
"""What servers and interpreters want besides: unix sockets, file watching, memory keys."""

LAST: Final = 462
"""The newest call known here (``mseal``). A program that tries a later one learns ENOSYS, so that it falls back."""

_X86_64: Final = """
    accept=43 accept4=288 access=21 alarm=37 arch_prctl=158 bind=49 brk=12 cachestat=451 capget=125 chdir=80
    chmod=90 chown=92 clock_getres=229 clock_gettime=228 clock_nanosleep=230 clone=56 clone3=435 close=3
    close_range=436 connect=42 copy_file_range=326 creat=85 dup=32 dup2=33 dup3=292 epoll_create=213
    epoll_create1=291 epoll_ctl=233 epoll_pwait=281 epoll_pwait2=441 epoll_wait=232 eventfd=284 eventfd2=290
    execve=59 exit=60 exit_group=231 faccessat=269 faccessat2=439 fadvise64=221 fallocate=285 fchdir=81
    fchmod=91 fchmodat=268 fchmodat2=452 fchown=93 fchownat=260 fcntl=72 fdatasync=75 fgetxattr=193
    flistxattr=196 flock=73 fork=57 fstat=5 fstatfs=138 fsync=74 ftruncate=77 futex=202 futex_requeue=456
    futex_wait=455 futex_waitv=449 futex_wake=454 futimesat=261 get_robust_list=274 getcpu=309 getcwd=79
    getdents=78 getdents64=217 getegid=108 geteuid=107 getgid=104 getgroups=115 getitimer=36 getpeername=52
    getpgid=121 getpgrp=111 getpid=39 getppid=110 getpriority=140 getrandom=318 getresgid=120 getresuid=118
    getrlimit=97 getrusage=98 getsid=124 getsockname=51 getsockopt=55 gettid=186 gettimeofday=96 getuid=102
    getxattr=191 inotify_add_watch=254 inotify_init=253 inotify_init1=294 inotify_rm_watch=255 ioctl=16
    kill=62 landlock_add_rule=445 landlock_create_ruleset=444 landlock_restrict_self=446 lchown=94
    lgetxattr=192 link=86 linkat=265 listen=50 listxattr=194 llistxattr=195 lseek=8 lstat=6 madvise=28
    membarrier=324 memfd_create=319 mincore=27 mkdir=83 mkdirat=258 mknod=133 mknodat=259 mlock=149
    mlock2=325 mmap=9 mprotect=10 mremap=25 mseal=462 msync=26 munlock=150 munmap=11 nanosleep=35
    newfstatat=262 open=2 openat=257 openat2=437 pause=34 personality=135 pidfd_open=434
    pidfd_send_signal=424 pipe=22 pipe2=293 pkey_alloc=330 pkey_free=331 pkey_mprotect=329 poll=7 ppoll=271
    prctl=157 pread64=17 preadv=295 preadv2=327 prlimit64=302 pselect6=270 pwrite64=18 pwritev=296
    pwritev2=328 read=0 readahead=187 readlink=89 readlinkat=267 readv=19 recvfrom=45 recvmmsg=299
    recvmsg=47 rename=82 renameat=264 renameat2=316 restart_syscall=219 rmdir=84 rseq=334 rt_sigaction=13
    rt_sigpending=127 rt_sigprocmask=14 rt_sigqueueinfo=129 rt_sigreturn=15 rt_sigsuspend=130
    rt_sigtimedwait=128 rt_tgsigqueueinfo=297 sched_get_priority_max=146 sched_get_priority_min=147
    sched_getaffinity=204 sched_getattr=315 sched_getparam=143 sched_getscheduler=145
    sched_rr_get_interval=148 sched_setaffinity=203 sched_yield=24 select=23 sendfile=40 sendmmsg=307
    sendmsg=46 sendto=44 set_robust_list=273 set_tid_address=218 setitimer=38 setpgid=109 setpriority=141
    setrlimit=160 setsid=112 setsockopt=54 shutdown=48 sigaltstack=131 signalfd=282 signalfd4=289 socket=41
    socketpair=53 splice=275 stat=4 statfs=137 statx=332 symlink=88 symlinkat=266 sysinfo=99 tee=276
    tgkill=234 time=201 timer_create=222 timer_delete=226 timer_getoverrun=225 timer_gettime=224
    timer_settime=223 timerfd_create=283 timerfd_gettime=287 timerfd_settime=286 times=100 tkill=200
    truncate=76 umask=95 uname=63 unlink=87 unlinkat=263 utime=132 utimensat=280 utimes=235 vfork=58
    wait4=61 waitid=247 write=1 writev=20
"""

_AARCH64: Final = """
    accept=202 accept4=242 bind=200 brk=214 cachestat=451 capget=90 chdir=49 clock_getres=114
    clock_gettime=113 clock_nanosleep=115 clone=220 clone3=435 close=57 close_range=436 connect=203
    copy_file_range=285 dup=23 dup3=24 epoll_create1=20 epoll_ctl=21 epoll_pwait=22 epoll_pwait2=441
    eventfd2=19 execve=221 exit=93 exit_group=94 faccessat=48 faccessat2=439 fadvise64=223 fallocate=47
    fchdir=50 fchmod=52 fchmodat=53 fchmodat2=452 fchown=55 fchownat=54 fcntl=25 fdatasync=83 fgetxattr=10
    flistxattr=13 flock=32 fstat=80 fstatfs=44 fsync=82 ftruncate=46 futex=98 futex_requeue=456
    futex_wait=455 futex_waitv=449 futex_wake=454 get_robust_list=100 getcpu=168 getcwd=17 getdents64=61
    getegid=177 geteuid=175 getgid=176 getgroups=158 getitimer=102 getpeername=205 getpgid=155 getpid=172
    getppid=173 getpriority=141 getrandom=278 getresgid=150 getresuid=148 getrlimit=163 getrusage=165
    getsid=156 getsockname=204 getsockopt=209 gettid=178 gettimeofday=169 getuid=174 getxattr=8
    inotify_add_watch=27 inotify_init1=26 inotify_rm_watch=28 ioctl=29 kill=129 landlock_add_rule=445
    landlock_create_ruleset=444 landlock_restrict_self=446 lgetxattr=9 linkat=37 listen=201 listxattr=11
    llistxattr=12 lseek=62 madvise=233 membarrier=283 memfd_create=279 mincore=232 mkdirat=34 mknodat=33
    mlock=228 mlock2=284 mmap=222 mprotect=226 mremap=216 mseal=462 msync=227 munlock=229 munmap=215
    nanosleep=101 newfstatat=79 openat=56 openat2=437 personality=92 pidfd_open=434 pidfd_send_signal=424
    pipe2=59 pkey_alloc=289 pkey_free=290 pkey_mprotect=288 ppoll=73 prctl=167 pread64=67 preadv=69
    preadv2=286 prlimit64=261 pselect6=72 pwrite64=68 pwritev=70 pwritev2=287 read=63 readahead=213
    readlinkat=78 readv=65 recvfrom=207 recvmmsg=243 recvmsg=212 renameat=38 renameat2=276
    restart_syscall=128 rseq=293 rt_sigaction=134 rt_sigpending=136 rt_sigprocmask=135 rt_sigqueueinfo=138
    rt_sigreturn=139 rt_sigsuspend=133 rt_sigtimedwait=137 rt_tgsigqueueinfo=240 sched_get_priority_max=125
    sched_get_priority_min=126 sched_getaffinity=123 sched_getattr=275 sched_getparam=121
    sched_getscheduler=120 sched_rr_get_interval=127 sched_setaffinity=122 sched_yield=124 sendfile=71
    sendmmsg=269 sendmsg=211 sendto=206 set_robust_list=99 set_tid_address=96 setitimer=103 setpgid=154
    setpriority=140 setrlimit=164 setsid=157 setsockopt=208 shutdown=210 sigaltstack=132 signalfd4=74
    socket=198 socketpair=199 splice=76 statfs=43 statx=291 symlinkat=36 sysinfo=179 tee=77 tgkill=131
    timer_create=107 timer_delete=111 timer_getoverrun=109 timer_gettime=108 timer_settime=110
    timerfd_create=85 timerfd_gettime=87 timerfd_settime=86 times=153 tkill=130 truncate=45 umask=166
    uname=160 unlinkat=35 utimensat=88 wait4=260 waitid=95 write=64 writev=66
"""

NUMBERS: Final[dict[str, dict[str, int]]] = {
    machine: {name: int(number) for name, _, number in (pair.partition("=") for pair in table.split())}
    for machine, table in (("x86_64", _X86_64), ("aarch64", _AARCH64))
}
"""``platform.machine()`` -> name -> number."""
