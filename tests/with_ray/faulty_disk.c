/* A disk that loses power and fills up, for the databases of a process.
 *
 * Preloaded (LD_PRELOAD), it stands below the file calls of SQLite, for files whose path contains
 * ".sqlite". The environment says how often, in calls: FAULTY_DISK="KILL FULL LOG".
 *
 * KILL  One write or sync in so many is a power loss: of each sector that was written since the
 *       file was last synced, it is decided by lot whether it is on the disk. Then the process is
 *       killed.
 * FULL  One write in so many begins a time in which the disk is full: up to 30 writes fail, the
 *       first of them after a part of it was written.
 * LOG   A file to which "power loss" and "disk full" are appended. If there is a file LOG.off, the
 *       disk is sound.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define WRITES 8192

struct write {
    int fd;
    off_t offset;
    size_t size;
    char *before; /* zeros where there was nothing */
};

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct write unsynced[WRITES];
static int count, full;
static int one_in_kill, one_in_full;
static char log_path[4096], off_path[4200];

static void start(void) {
    if (real_pwrite) return;
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    const char *setting = getenv("FAULTY_DISK");
    if (setting) sscanf(setting, "%d %d %4095s", &one_in_kill, &one_in_full, log_path);
    snprintf(off_path, sizeof off_path, "%s.off", log_path);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    srandom(now.tv_nsec ^ getpid());
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
}

static int is_database(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return one_in_kill > 0 && strstr(path, ".sqlite") != NULL;
}

static int happens(int one_in) {
    return random() % one_in == 0 && access(off_path, F_OK) != 0;
}

static void note(const char *what) {
    int fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd >= 0) {
        if (write(fd, what, strlen(what)) < 0) abort();
        close(fd);
    }
}

static void lose_power(void) {
    note("power loss\n");
    while (count--) {
        struct write *one = &unsynced[count];
        off_t at = one->offset, end = one->offset + one->size;
        while (at < end) {
            off_t next = (at / SECTOR + 1) * SECTOR;
            if (next > end) next = end;
            if (random() % 2) real_pwrite(one->fd, one->before + (at - one->offset), next - at, at);
            at = next;
        }
    }
    kill(getpid(), SIGKILL);
    pause();
}

static void remember(int fd, size_t size, off_t offset) {
    if (count == WRITES) return; /* the oldest ones are on the disk, then */
    char *before = calloc(1, size);
    if (pread(fd, before, size, offset) < 0) memset(before, 0, size);
    unsynced[count++] = (struct write){fd, offset, size, before};
}

static int synced(int fd, int (*sync)(int)) {
    pthread_mutex_lock(&lock);
    if (is_database(fd)) {
        if (happens(one_in_kill)) lose_power();
        int kept = 0;
        for (int i = 0; i < count; i++) {
            if (unsynced[i].fd == fd) free(unsynced[i].before);
            else unsynced[kept++] = unsynced[i];
        }
        count = kept;
    }
    pthread_mutex_unlock(&lock);
    return sync(fd);
}

int fdatasync(int fd) {
    start();
    return synced(fd, real_fdatasync);
}

int fsync(int fd) {
    start();
    return synced(fd, real_fsync);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    start();
    pthread_mutex_lock(&lock);
    if (is_database(fd)) {
        if (full == 0 && happens(one_in_full)) {
            full = 1 + random() % 30;
            note("disk full\n");
            remember(fd, size / 2, offset);
            real_pwrite(fd, data, size / 2, offset);
        }
        if (full > 0) {
            full--;
            pthread_mutex_unlock(&lock);
            errno = ENOSPC;
            return -1;
        }
        remember(fd, size, offset);
        ssize_t written = real_pwrite(fd, data, size, offset);
        if (happens(one_in_kill)) lose_power();
        pthread_mutex_unlock(&lock);
        return written;
    }
    pthread_mutex_unlock(&lock);
    return real_pwrite(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}
