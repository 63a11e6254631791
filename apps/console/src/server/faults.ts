/**
 * Faults on purpose, over all replicas. Each fault is a lease that the replicas (or their supervisor) enforce; the console only asks for it and shows
 * what they state.
 *
 * Invariants: a cut counts when its sender enforces it; heal and heal-all ask every replica and the supervisor, whatever fails.
 */
import { TRPCError } from '@trpc/server';
import { config } from './config.ts';
import { poller } from './poller.ts';
import {
  asConsoleError,
  type SupervisorApi,
  replicaApi,
  supervisorApis,
  supervisorOf,
  whyFailed,
} from './replica-client.ts';

const CHAOS_TIMEOUT_MS = 4_000;

export interface Acknowledged {
  /** Replicas, or the supervisor, that took it. */
  readonly acked: readonly string[];
  readonly failed: readonly { readonly who: string; readonly why: string }[];
}

export interface Link {
  readonly from: number;
  readonly to: number;
}

interface Ack {
  readonly replica: number;
  readonly ok: boolean;
  readonly message: string;
}

function merge(acks: readonly Ack[]): Acknowledged {
  const acked = new Set<string>();
  const failed = new Map<string, string>();
  for (const { replica, ok, message } of acks) {
    const who = replica === 0 ? 'supervisor' : `r${replica}`;
    if (ok) acked.add(who);
    else failed.set(who, message);
  }
  return {
    acked: [...acked].sort(),
    failed: [...failed].filter(([who]) => !acked.has(who)).map(([who, why]) => ({ who, why })),
  };
}

/** Ids of the replicas, those that answer first: any of them passes an order on to whom it concerns. */
function byReach(first: number[]): number[] {
  const { replicas } = poller().frame(Number.MAX_SAFE_INTEGER);
  const rank = (id: number) =>
    (replicas.find((r) => r.id === id)?.reach === 'live' ? 0 : 2) + (first.includes(id) ? 0 : 1);
  return config()
    .replicas.map(({ id }) => id)
    .sort((a, b) => rank(a) - rank(b));
}

/** Cuts directed links, each enforced at both ends. */
export async function cut(links: readonly Link[], ttlMs: number, reason: string): Promise<Acknowledged> {
  const wrong = links.find(({ from, to }) => from === to);
  if (wrong) throw new TRPCError({ code: 'BAD_REQUEST', message: `r${wrong.from} has no link to itself` });
  const answers = await Promise.all(
    links.map(async ({ from, to }) => {
      const via = byReach([from, to])[0]!;
      try {
        const { acks } = await replicaApi(via, CHAOS_TIMEOUT_MS).chaos.cut.mutate({ from, to, ttlMs, reason });
        return acks;
      } catch (error) {
        throw asConsoleError(`r${via}`, error);
      }
    }),
  );
  return merge(answers.flat());
}

/** Pauses or kills one replica's process until the lease ends or is healed. */
export async function stop(
  kind: 'pause' | 'kill',
  replica: number,
  ttlMs: number,
  reason: string,
): Promise<Acknowledged> {
  const input = { replica, ttlMs, reason };
  const supervisor = supervisorOf(replica, CHAOS_TIMEOUT_MS);
  // Without a supervisor the target passes the order on to its own parent.
  const who = supervisor ? 'supervisor' : `r${replica}`;
  try {
    const answer = supervisor
      ? await supervisor.chaos[kind].mutate(input)
      : await replicaApi(replica, CHAOS_TIMEOUT_MS).chaos[kind].mutate(input);
    return merge(answer.acks);
  } catch (error) {
    throw asConsoleError(who, error);
  }
}

async function everybody(
  onReplica: (api: ReturnType<typeof replicaApi>) => Promise<unknown>,
  onSupervisor: (api: SupervisorApi) => Promise<unknown>,
): Promise<Acknowledged> {
  const acks: Ack[] = [];
  const note = async (replica: number, run: Promise<unknown>) => {
    await run.then(
      () => acks.push({ replica, ok: true, message: '' }),
      (error: unknown) => acks.push({ replica, ok: false, message: whyFailed(error) }),
    );
  };
  // Supervisors first: a paused replica answers only once it runs again.
  await Promise.all(supervisorApis(CHAOS_TIMEOUT_MS).map((api) => note(0, onSupervisor(api))));
  await Promise.all(config().replicas.map(({ id }) => note(id, onReplica(replicaApi(id, CHAOS_TIMEOUT_MS)))));
  return merge(acks);
}

export async function heal(ids: readonly string[]): Promise<Acknowledged> {
  return everybody(
    async (api) => {
      for (const id of ids) await api.chaos.heal.mutate({ id });
    },
    async (api) => {
      for (const id of ids) await api.chaos.heal.mutate({ id });
    },
  );
}

export async function healAll(): Promise<Acknowledged> {
  return everybody(
    (api) => api.chaos.healAll.mutate(),
    (api) => api.chaos.healAll.mutate(),
  );
}
