'use client';
import { useFreshness } from '../../live/live.tsx';
import type { ClusterFrame, ReplicaView } from '../../lib/frame.ts';
import { damageText, scrubShare, scrubText, unchecked, unrepaired } from '../../lib/scrub.ts';
import { Bar, Panel, Tag, type Tone } from '../parts.tsx';

/** What the replicas find when they read their own disks again; this browser can only repeat it. */
export function ScrubPanel({ frame }: { frame: ClusterFrame }) {
  return (
    <Panel title="On the replicas’ own disks" meta="as each replica states it" label="Scrubbing" flush>
      <ul className="divide-y divide-line">
        {frame.replicas.map((replica) => (
          <ScrubRow key={replica.id} replica={replica} />
        ))}
      </ul>
      <div className="border-t border-line px-4 py-3">
        <p className="max-w-prose text-xs text-faint">
          Each replica reads everything it stores again, slowly and for ever: manifest, tail record, log, snapshots. A
          damaged entry is fetched again from the others while they have it.
        </p>
      </div>
    </Panel>
  );
}

function ScrubRow({ replica }: { replica: ReplicaView }) {
  const { state } = useFreshness();
  const { detail } = replica;
  const gone = replica.reach !== 'live' || state === 'stale' || state === 'offline' || detail === null;
  const scrub = detail?.scrub ?? null;
  const tone: Tone = gone || scrub === null || unchecked(scrub) ? 'mute' : unrepaired(scrub) > 0 ? 'bad' : 'ok';
  return (
    <li className="flex flex-col gap-1.5 px-4 py-2.5" data-testid={`scrub-${replica.id}`}>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-1">
        <span className="w-8 font-semibold">r{replica.id}</span>
        {scrub === null ? (
          <Tag tone="mute">unknown</Tag>
        ) : (
          <>
            <Tag tone={tone}>{gone ? `was: ${damageText(scrub)}` : damageText(scrub)}</Tag>
            <span className={gone ? 'text-faint' : 'text-muted'}>
              {gone ? 'does not answer now' : scrubText(scrub)}
            </span>
          </>
        )}
      </div>
      {scrub !== null && <Bar tone={tone} share={scrubShare(scrub)} label="of this pass read" />}
    </li>
  );
}
