/** The ports of a local cluster, and the check that all are free before anything starts. */
import { createServer } from 'node:net';
import { Failure, usage } from './failure.ts';

export const PORT_DEFAULT = 7400;
/** Ports between two replicas. */
const STRIDE = 10;

export interface ReplicaPorts {
  readonly id: number;
  readonly api: number;
  readonly client: number;
  readonly peer: number;
}

export interface ClusterPorts {
  readonly console: number;
  readonly supervisor: number;
  readonly replicas: readonly ReplicaPorts[];
}

/** Console N, supervisor N+1; replica i: API N+10i, clients N+10i+1, peers N+10i+2. */
export function portsOf(base: number, replicas: number): ClusterPorts {
  if (!Number.isInteger(base) || base < 1 || base + STRIDE * replicas + 2 > 65_535) {
    throw usage(`--port ${base}: ports ${base} to ${base + STRIDE * replicas + 2} are needed, within 1 to 65535`);
  }
  const ids = Array.from({ length: replicas }, (_, i) => i + 1);
  return {
    console: base,
    supervisor: base + 1,
    replicas: ids.map((id) => {
      const api = base + STRIDE * id;
      return { id, api, client: api + 1, peer: api + 2 };
    }),
  };
}

/** The ports when this supervisor runs replica `id` only: its own API stands beside that replica's, so that several fit on one machine. */
export function portsOfOne(base: number, replicas: number, id: number): ClusterPorts {
  const ports = portsOf(base, replicas);
  const one = ports.replicas.filter((replica) => replica.id === id);
  if (one[0] === undefined) throw usage(`--only r${id}: the cluster has ${replicas} replicas`);
  return { console: ports.console, supervisor: one[0].peer + 1, replicas: one };
}

/** Every port with what it is for. */
export function portUses(ports: ClusterPorts, withConsole: boolean): { readonly port: number; readonly use: string }[] {
  const uses = withConsole ? [{ port: ports.console, use: 'the console' }] : [];
  uses.push({ port: ports.supervisor, use: 'the supervisor' });
  for (const { id, api, client, peer } of ports.replicas) {
    uses.push(
      { port: api, use: `the API of r${id}` },
      { port: client, use: `clients of r${id}` },
      { port: peer, use: `peers of r${id}` },
    );
  }
  return uses;
}

/** Refuses when one of them is taken, naming it. */
export async function requireFree(
  uses: readonly { readonly port: number; readonly use: string }[],
  host: string,
): Promise<void> {
  for (const { port, use } of uses) {
    const problem = await tryListen(port, host);
    if (problem === null) continue;
    const why = problem === 'EADDRINUSE' ? 'is in use' : `cannot be listened on (${problem})`;
    throw new Failure(
      'E_PORT',
      `port ${port}, for ${use}, ${why}; nothing was started. Choose another base with --port`,
    );
  }
}

/** Null when nobody listens there, else the error code. */
export async function tryListen(port: number, host: string): Promise<string | null> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message);
    });
    server.listen({ port, host, exclusive: true }, () => {
      server.close(() => {
        resolve(null);
      });
    });
  });
}
