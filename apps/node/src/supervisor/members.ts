/** Who the members are and where: all on loopback, or each on a host of its own (containers). */
import type { MemberConfig } from '../replica/config.ts';
import { usage } from './failure.ts';
import { portsOf } from './ports.ts';

/** All replicas on this machine. */
export function localMembers(base: number, count: number): MemberConfig[] {
  return portsOf(base, count).replicas.map(({ id, api, client, peer }) => ({
    id,
    host: '127.0.0.1',
    apiPort: api,
    clientPort: client,
    peerPort: peer,
  }));
}

/** `r1=host1,r2=host2,...`: the ports are those of a local cluster with the same base, on each host. */
export function parseMembers(text: string, base: number): MemberConfig[] {
  const members = text.split(',').map((part, i) => {
    const match = /^r([1-7])=([A-Za-z0-9][A-Za-z0-9.-]{0,252})$/.exec(part.trim());
    if (match === null) throw usage(`--members: '${part.trim()}' is not of the form r1=HOST`);
    if (Number(match[1]) !== i + 1) throw usage('--members: name r1, r2, ... in order, each once');
    return { id: i + 1, host: match[2]! };
  });
  const ports = portsOf(base, members.length).replicas;
  return members.map(({ id, host }, i) => {
    const { api, client, peer } = ports[i]!;
    return { id, host, apiPort: api, clientPort: client, peerPort: peer };
  });
}
