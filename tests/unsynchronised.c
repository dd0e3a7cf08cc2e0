/* Synchronisation that returns at once: loaded with LD_PRELOAD into the processes of a test run (unsynchronised.py), so
   that a disk which others keep busy delays no test. What a process wrote is in the kernel's memory and outlives the
   process; only a power cut would lose it. */

#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int synchronise = 0;
/* Set while a test about durability runs. */

int fsync(int descriptor) { return synchronise ? (int)syscall(SYS_fsync, descriptor) : 0; }

int fdatasync(int descriptor) { return synchronise ? (int)syscall(SYS_fdatasync, descriptor) : 0; }

int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned int flags) {
  return synchronise ? (int)syscall(SYS_sync_file_range, descriptor, offset, length, flags) : 0;
}

int msync(void *address, size_t length, int flags) {
  return synchronise ? (int)syscall(SYS_msync, address, length, flags) : 0;
}

int syncfs(int descriptor) { return synchronise ? (int)syscall(SYS_syncfs, descriptor) : 0; }
