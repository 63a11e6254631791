/** A process that locks a directory, says so in one line of JSON, and holds it until it is killed. Run by lock.test.ts. */
import { LockFailure, lockDirectory } from '../lock.ts';

const [, , directory = '.'] = process.argv;
try {
  const { mechanism } = await lockDirectory(directory);
  process.stdout.write(`${JSON.stringify({ mechanism })}\n`);
  setInterval(() => {}, 1000);
} catch (cause) {
  const { code, holder, message } = cause as LockFailure;
  process.stdout.write(`${JSON.stringify({ code, holder, message })}\n`);
}
