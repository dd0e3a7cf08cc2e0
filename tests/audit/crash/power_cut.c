/* What a disk would hold if the power failed now: loaded with LD_PRELOAD, this keeps beside the files of one directory a
   second copy of them which only a synchronisation reaches.

   POWER_CUT_LIVE    the directory under test
   POWER_CUT_STABLE  where the second copy lies
   POWER_CUT_NAMES   "posix": a name is stable once its directory was synchronised.
                     "linux": also once the file of a new name was, as ext4, XFS and Btrfs have it.

   Only calls that ask for durability are interposed. How bytes came into a file (write, pwritev, a mapping, io_uring)
   does not matter, because a synchronisation compares the whole file with its stable copy. So no way of writing can be
   overlooked; a way of synchronising that is not known here makes the verdict stricter, never milder.

   The stable copy:
     files/ID   content at the last synchronisation
     names/ID   of a directory: lines of ID, a blank and the name
   ID is the inode and its time of birth, since inodes are used again.

   A kill in the middle of a copy leaves a part of the new bytes, as a disk would in the middle of an fsync. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, ID_BYTES = 64 };

static void fail(const char *what, const char *which) {
  /* A harness that lost track must not go on to a verdict. */
  fprintf(stderr, "power_cut: %s: %s: %s\n", what, which, strerror(errno));
  abort();
}

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value != NULL && *value != '\0' ? value : NULL;
}

/* Where the descriptor's file lies, if that is inside of the directory under test and it still has a name. */
static int inside(int descriptor, char path[PATH_MAX]) {
  const char *live = setting("POWER_CUT_LIVE");
  char link[64];
  if (live == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  size_t prefix = strlen(live);
  return strncmp(path, live, prefix) == 0 && (path[prefix] == '/' || path[prefix] == '\0');
}

int power_cut_identify(int directory, const char *name, char id[ID_BYTES]) {
  struct statx found;
  if (statx(directory, name, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH), STATX_INO | STATX_BTIME, &found)) return -1;
  long long born = found.stx_mask & STATX_BTIME ? found.stx_btime.tv_sec * 1000000000LL + found.stx_btime.tv_nsec : 0;
  snprintf(id, ID_BYTES, "%llu-%lld", (unsigned long long)found.stx_ino, born);
  return 0;
}

static int stable(const char *kind, const char *id, int flags) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s/%s", setting("POWER_CUT_STABLE"), kind, id);
  int descriptor = open(path, flags | O_CLOEXEC, 0666);
  if (descriptor < 0) fail("open", path);
  return descriptor;
}

static size_t read_at(int descriptor, char *bytes, off_t at) {
  size_t done = 0;
  while (done < CHUNK) {
    ssize_t got = pread(descriptor, bytes + done, CHUNK - done, at + done);
    if (got < 0 && errno != EINTR) fail("pread", "a file under test");
    if (got == 0) break;
    if (got > 0) done += got;
  }
  return done;
}

static void publish_file(int descriptor, const char *path) {
  static _Thread_local char now[CHUNK], before[CHUNK];
  char id[ID_BYTES], link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor); /* it may be open for writing alone */
  int live = open(link, O_RDONLY | O_CLOEXEC);
  if (live < 0) fail("open", path);
  if (power_cut_identify(live, "", id)) fail("statx", path);
  int copy = stable("files", id, O_RDWR | O_CREAT);
  if (flock(copy, LOCK_EX)) fail("flock", path);
  off_t at = 0;
  for (size_t length; (length = read_at(live, now, at)) > 0; at += length) {
    size_t known = read_at(copy, before, at);
    if (known < length || memcmp(now, before, length) != 0) {
      if (pwrite(copy, now, length, at) != (ssize_t)length) fail("pwrite", path);
    }
  }
  if (ftruncate(copy, at)) fail("ftruncate", path);
  close(copy);
  close(live);
}

static void publish_names(const char *path) {
  char id[ID_BYTES], child[ID_BYTES], temporary[ID_BYTES + 32], from[PATH_MAX], to[PATH_MAX];
  DIR *directory = opendir(path);
  if (directory == NULL) {
    if (errno == ENOENT) return;
    fail("opendir", path);
  }
  if (power_cut_identify(dirfd(directory), "", id)) fail("statx", path);
  snprintf(temporary, sizeof temporary, ".%s.%d", id, (int)gettid());
  FILE *list = fdopen(stable("names", temporary, O_WRONLY | O_CREAT | O_TRUNC), "w");
  if (list == NULL) fail("fdopen", path);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    if (power_cut_identify(dirfd(directory), entry->d_name, child)) continue; /* unlinked while we read */
    fprintf(list, "%s %s\n", child, entry->d_name);
  }
  if (fclose(list)) fail("fclose", path);
  closedir(directory);
  snprintf(from, sizeof from, "%s/names/%s", setting("POWER_CUT_STABLE"), temporary);
  snprintf(to, sizeof to, "%s/names/%s", setting("POWER_CUT_STABLE"), id);
  if (rename(from, to)) fail("rename", path);
}

static void publish_name_of(const char *path) {
  char parent[PATH_MAX];
  snprintf(parent, sizeof parent, "%s", path);
  char *slash = strrchr(parent, '/');
  if (slash == NULL) return;
  *slash = '\0';
  publish_names(parent);
}

void power_cut_publish(int descriptor) {
  char path[PATH_MAX];
  struct stat found;
  int kept = errno;
  if (inside(descriptor, path)) {
    if (fstat(descriptor, &found)) fail("fstat", path);
    if (S_ISDIR(found.st_mode)) {
      publish_names(path);
    } else if (S_ISREG(found.st_mode) && found.st_nlink > 0) {
      publish_file(descriptor, path);
      const char *names = setting("POWER_CUT_NAMES");
      if (names != NULL && !strcmp(names, "linux")) publish_name_of(path);
    }
  }
  errno = kept;
}

static void *next(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) fail("dlsym", name);
  return found;
}

/* The file lies in memory, so the real call would only cost time; what it promises is kept by the copy. */
int fsync(int descriptor) {
  int (*real)(int) = next("fsync");
  char path[PATH_MAX];
  if (!inside(descriptor, path)) return real(descriptor);
  power_cut_publish(descriptor);
  return 0;
}

int fdatasync(int descriptor) {
  int (*real)(int) = next("fdatasync");
  char path[PATH_MAX];
  if (!inside(descriptor, path)) return real(descriptor);
  power_cut_publish(descriptor);
  return 0;
}

/* Writing out early is no promise. */
int sync_file_range(int descriptor, off64_t offset, off64_t length, unsigned int flags) {
  int (*real)(int, off64_t, off64_t, unsigned int) = next("sync_file_range");
  char path[PATH_MAX];
  return inside(descriptor, path) ? 0 : real(descriptor, offset, length, flags);
}
