/** A refusal or failure with a stable code and an exit code, for people: one line that says what is wrong and what to do. */
import { exitCodeOf } from '../replica/exit-codes.ts';

export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: string;
  readonly exitCode: number;
  constructor(code: string, message: string, exitCode: number = exitCodeOf(code)) {
    super(message);
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** Wrong use of a command: exit code 2. */
export function usage(message: string): Failure {
  return new Failure('E_USAGE', message, 2);
}
