/**
 * Secrets of a cluster whose replicas format their directories together (first boot), each with a supervisor of its own: one file that all of them see, made by
 * whoever comes first.
 *
 * Invariants: secrets that are there are never changed; no file is ever seen half written.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { readIfThere, syncDirectory, writeAtomically } from './atomic-file.ts';
import type { ClusterFile } from './cluster-file.ts';
import { Failure } from './failure.ts';

const secret = z.string().min(32).max(512);
const secretsFile = z.object({ token: secret, peerSecret: secret, consoleSecret: secret });
export type Secrets = z.infer<typeof secretsFile>;

export function newSecrets(): Secrets {
  const fresh = (): string => randomBytes(32).toString('base64url');
  return { token: fresh(), peerSecret: fresh(), consoleSecret: fresh() };
}

/** The secrets in `path`; new ones where it is missing. */
export function sharedSecrets(path: string): Secrets {
  let text: string;
  try {
    text = readIfThere(path) ?? writeOnce(path, `${JSON.stringify(newSecrets())}\n`);
  } catch (error) {
    throw new Failure('E_DIRECTORY', `${path} cannot be used: ${(error as Error).message}`);
  }
  try {
    return secretsFile.parse(JSON.parse(text));
  } catch {
    throw new Failure('E_DIRECTORY', `${path} holds no secrets of a cluster`);
  }
}

/** What the console needs, as lines of an environment file. */
export function writeConsoleEnv(
  path: string,
  { token, consoleSecret }: Pick<ClusterFile, 'token' | 'consoleSecret'>,
): void {
  const text = `CHRONON_TOKEN=${token}\nCHRONON_CONSOLE_SECRET=${consoleSecret}\n`;
  // That of a cluster that was here before.
  if (writeOnce(path, text) !== text) writeAtomically(path, text);
}

/** Writes a file that is not there yet; gives what is in it, whoever wrote it. */
function writeOnce(path: string, text: string): string {
  const beside = `${path}.${randomBytes(8).toString('hex')}.tmp`;
  const fd = fs.openSync(beside, 'wx', 0o600);
  try {
    fs.writeSync(fd, text);
    fs.fsyncSync(fd);
    fs.linkSync(beside, path);
    syncDirectory(dirname(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    fs.closeSync(fd);
    fs.unlinkSync(beside);
  }
  return fs.readFileSync(path, 'utf8');
}
