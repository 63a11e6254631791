/**
 * A small ext4 of its own in a file, mounted through a loop device: for tests that fill a disk, stall it or cut its power. Needs root, mkfs.ext4 and loop devices.
 *
 * `cutPower` shuts the file system down at once without flushing its journal (FS_IOC_SHUTDOWN, NOLOGFLUSH): whatever no barrier covered is gone, as when the
 * plug is pulled; `remount` is the next boot.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SHUTDOWN_SOURCE = `
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
int main(int argc, char **argv) {
  uint32_t no_log_flush = 2;
  int fd = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
  return fd < 0 || ioctl(fd, _IOR('X', 125, uint32_t), &no_log_flush) != 0;
}
`;

export class LoopFileSystem {
  /** Where it is mounted. */
  readonly directory: string;
  private readonly parent: string;

  private constructor(parent: string) {
    this.parent = parent;
    this.directory = join(parent, 'mounted');
  }

  /** Makes and mounts one below `parent`, an existing directory; or says in one line why that is not possible here. */
  static create(parent: string, megabytes: number): LoopFileSystem | string {
    if (process.getuid?.() !== 0) return 'needs root';
    const made = new LoopFileSystem(parent);
    mkdirSync(made.directory);
    const image = join(parent, 'image');
    const problem =
      run('truncate', '-s', `${megabytes}M`, image) ??
      run('mkfs.ext4', '-q', '-m', '0', image) ??
      run('mount', '-o', 'loop', image, made.directory);
    return problem ?? made;
  }

  /** Null, or why the power cannot be cut here. */
  prepareCut(): string | null {
    const source = join(this.parent, 'shutdown.c');
    writeFileSync(source, SHUTDOWN_SOURCE);
    return run('gcc', '-o', join(this.parent, 'shutdown'), source);
  }

  /** From here on every write fails, and what was not flushed is lost. */
  cutPower(): void {
    must(run(join(this.parent, 'shutdown'), this.directory));
  }

  /** From here on every write waits, until `thaw`: a device that does not answer. Null, or why that is not possible here. */
  freeze(): string | null {
    return run('fsfreeze', '-f', this.directory);
  }

  thaw(): void {
    run('fsfreeze', '-u', this.directory);
  }

  /** Mounts it again; no process may have a file open in it. */
  remount(): void {
    must(run('umount', this.directory));
    must(run('mount', '-o', 'loop', join(this.parent, 'image'), this.directory));
  }

  /** Unmounts and removes everything. */
  remove(): void {
    this.thaw();
    run('umount', this.directory);
    rmSync(this.parent, { recursive: true, force: true });
  }
}

/** Null, or what went wrong. */
function run(command: string, ...args: string[]): string | null {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined) return `${command}: ${error.message}`;
  return status === 0 ? null : `${command}: ${stderr.trim().split('\\n').at(-1) ?? `status ${status ?? 'none'}`}`;
}

function must(problem: string | null): void {
  if (problem !== null) throw new Error(problem);
}
