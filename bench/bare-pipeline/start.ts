/** Starts the three processes of the bare pipeline and its load generator. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, type ChildMessage } from '../lib/child.ts';

const module = (name: string): string => fileURLToPath(new URL(`./${name}.ts`, import.meta.url));

interface Ready extends ChildMessage {
  readonly type: 'ready';
  readonly port: number;
}

/** Counters of one bare process. */
export interface BareStats extends ChildMessage {
  readonly type: 'stats';
  readonly writes: number;
  readonly bytes: number;
}

export class BarePipeline {
  readonly members: readonly Child[];
  readonly load: Child;

  private constructor(members: readonly Child[], load: Child) {
    this.members = members;
    this.load = load;
  }

  /** Its files lie in `directory`. The first member is the primary. */
  static async start(directory: string, valueBytes: number): Promise<BarePipeline> {
    const backups = [2, 3].map(
      (id) => new Child(`bare ${id}`, module('backup'), { file: join(directory, `bare-${id}`) }),
    );
    const ports = await Promise.all(backups.map(async (child) => (await child.next<Ready>('ready')).port));
    const primary = new Child('bare 1', module('primary'), { file: join(directory, 'bare-1'), backups: ports });
    const { port } = await primary.next<Ready>('ready');
    const load = new Child('bare load', module('load'), { port, valueBytes });
    return new BarePipeline([primary, ...backups], load);
  }

  async stats(): Promise<BareStats[]> {
    return await Promise.all(
      this.members.map(async (member) => {
        member.send({});
        return await member.next<BareStats>('stats');
      }),
    );
  }

  async stop(): Promise<void> {
    await this.load.stop();
    for (const member of this.members) await member.stop();
  }
}
