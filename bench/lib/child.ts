/**
 * A helper process of a benchmark: started with IPC, told to do one thing at a time, killed at the end. Whatever it starts to say wrongly ends the
 * benchmark: a number that is missing must not look like a fast one.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Something a child says. */
export interface ChildMessage {
  readonly type: string;
}

export class Child {
  readonly name: string;
  readonly pid: number;
  private readonly process: ChildProcess;
  private readonly inbox: ChildMessage[] = [];
  private readonly waiting: { type: string; resolve: (message: ChildMessage) => void; reject: (why: Error) => void }[] =
    [];
  private ended: string | null = null;

  /** Runs a module of bench/; `argument` is its whole configuration. */
  constructor(name: string, module: string, argument: unknown) {
    this.name = name;
    this.process = fork(module, [JSON.stringify(argument)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.pid = this.process.pid ?? 0;
    this.process.on('message', (message) => {
      this.onMessage(message as ChildMessage);
    });
    this.process.once('close', (code, signal) => {
      this.ended = `${name} ended: ${signal ?? code}`;
      for (const { reject } of this.waiting.splice(0)) reject(new Error(this.ended));
    });
  }

  send(message: object): void {
    this.process.send(message);
  }

  /** The next message of this type. */
  async next<M extends ChildMessage>(type: M['type']): Promise<M> {
    const at = this.inbox.findIndex((message) => message.type === type);
    if (at >= 0) return this.inbox.splice(at, 1)[0] as M;
    if (this.ended !== null) throw new Error(this.ended);
    return await new Promise<M>((resolve, reject) => {
      this.waiting.push({ type, resolve: resolve as (message: ChildMessage) => void, reject });
    });
  }

  async stop(): Promise<void> {
    if (this.ended !== null) return;
    this.process.kill('SIGTERM');
    await once(this.process, 'close');
  }

  private onMessage(message: ChildMessage): void {
    const at = this.waiting.findIndex(({ type }) => type === message.type);
    if (at < 0) this.inbox.push(message);
    else this.waiting.splice(at, 1)[0]!.resolve(message);
  }
}

/** In the child: its configuration. It ends when its parent does. */
export function childArgument<A>(): A {
  process.once('disconnect', () => process.exit(0));
  process.once('SIGTERM', () => process.exit(0));
  return JSON.parse(process.argv[2] ?? 'null') as A;
}

/** In the child: says something to the parent. */
export function tell(message: ChildMessage): void {
  process.send?.(message);
}
