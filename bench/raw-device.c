/*
 * raw-device: what the disk itself gives. Writes blocks of one size, one at a time, with O_DIRECT | O_DSYNC, round and round a
 * file that was written before (no allocation, no size change), and prints one JSON object:
 *   {"bytes":4096,"writes":N,"seconds":S,"perSecond":R,"p50us":..,"p99us":..,"maxus":..}
 *
 * With SECOND_FILE every write is followed by one of 8 KiB there, as a log's frames are by their tail record; latencies and writes are of both together.
 *
 * raw-device FILE BLOCK_BYTES SECONDS [FILE_BYTES [SECOND_FILE]]     build: gcc -O2 -o raw-device raw-device.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECORD_BYTES 8192
#define MICROS_MAX 200000 /* latencies above 200 ms are counted as 200 ms */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int fail(const char* what, const char* path) {
  fprintf(stderr, "raw-device: %s %s: %s\n", what, path, strerror(errno));
  return 1;
}

/* Zeros over the whole file, then fdatasync: extents are written, not only allocated. */
static int prewrite(const char* path, const char* block, size_t chunk, off_t bytes) {
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  if (fd < 0) return fail("open", path);
  for (off_t at = 0; at < bytes; at += (off_t)chunk)
    if (pwrite(fd, block, chunk, at) != (ssize_t)chunk) return fail("write", path);
  if (fdatasync(fd) != 0) return fail("fdatasync", path);
  close(fd);
  return 0;
}

static unsigned percentile(const unsigned* counts, unsigned long total, double q) {
  unsigned long seen = 0;
  for (unsigned micros = 0; micros < MICROS_MAX; micros++) {
    seen += counts[micros];
    if (seen >= total * q) return micros;
  }
  return MICROS_MAX;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: raw-device FILE BLOCK_BYTES SECONDS [FILE_BYTES [SECOND_FILE]]\n");
    return 2;
  }
  const char* path = argv[1];
  const size_t block_bytes = strtoul(argv[2], NULL, 10);
  const double seconds = strtod(argv[3], NULL);
  const size_t chunk = 1024 * 1024;
  off_t file_bytes = argc > 4 ? strtoll(argv[4], NULL, 10) : 64 * 1024 * 1024;
  file_bytes -= file_bytes % (off_t)chunk;
  if (block_bytes == 0 || block_bytes % 4096 != 0 || (off_t)block_bytes > file_bytes || seconds <= 0) {
    fprintf(stderr, "raw-device: BLOCK_BYTES is a multiple of 4096 within the file, SECONDS is positive\n");
    return 2;
  }
  char* memory;
  const size_t huge = 2 * 1024 * 1024;
  const size_t whole = ((block_bytes > chunk ? block_bytes : chunk) + huge - 1) / huge * huge;
  if (posix_memalign((void**)&memory, huge, whole) != 0) return fail("memory", "");
  madvise(memory, whole, MADV_HUGEPAGE); /* as the log's own memory: the best that the device can get */
  memset(memory, 0, block_bytes > chunk ? block_bytes : chunk);
  if (prewrite(path, memory, chunk, file_bytes) != 0) return 1;
  int fd = open(path, O_WRONLY | O_DIRECT | O_DSYNC);
  if (fd < 0) return fail("open with O_DIRECT", path);
  const char* second_path = argc > 5 ? argv[5] : NULL;
  int second = -1;
  if (second_path != NULL) {
    if (prewrite(second_path, memory, chunk, (off_t)chunk) != 0) return 1;
    second = open(second_path, O_WRONLY | O_DIRECT | O_DSYNC);
    if (second < 0) return fail("open with O_DIRECT", second_path);
  }

  unsigned* counts = calloc(MICROS_MAX + 1, sizeof *counts);
  unsigned long writes = 0;
  double longest = 0;
  off_t at = 0;
  memset(memory, 0x5a, block_bytes);
  const double started = now();
  double before = started;
  while (before - started < seconds) {
    memcpy(memory, &writes, sizeof writes); /* never the same bytes twice */
    if (pwrite(fd, memory, block_bytes, at) != (ssize_t)block_bytes) return fail("write", path);
    if (second >= 0 && pwrite(second, memory, RECORD_BYTES, (off_t)(writes % 2) * RECORD_BYTES) != RECORD_BYTES)
      return fail("write", second_path);
    const double after = now();
    const double micros = (after - before) * 1e6;
    counts[micros < MICROS_MAX ? (unsigned)micros : MICROS_MAX]++;
    if (micros > longest) longest = micros;
    before = after;
    writes++;
    at += (off_t)block_bytes;
    if (at + (off_t)block_bytes > file_bytes) at = 0;
  }
  const double elapsed = before - started;
  printf("{\"bytes\":%zu,\"writes\":%lu,\"seconds\":%.3f,\"perSecond\":%.0f,\"p50us\":%u,\"p99us\":%u,\"maxus\":%.0f}\n",
         block_bytes, writes, elapsed, writes / elapsed, percentile(counts, writes, 0.5), percentile(counts, writes, 0.99),
         longest);
  close(fd);
  if (second >= 0) close(second);
  return 0;
}
