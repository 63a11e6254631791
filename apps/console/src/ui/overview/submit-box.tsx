'use client';
import { useMutation, useQuery } from '@tanstack/react-query';
import { Send } from 'lucide-react';
import { useState } from 'react';
import { api, messageOf, type Outputs } from '../../live/api.ts';
import { useFreshness } from '../../live/live.tsx';
import { count } from '../../lib/format.ts';
import { Button, Panel, Tag } from '../parts.tsx';

/** Inputs to start from, by application and call; `{}` where there is none. */
const EXAMPLES: Record<string, string> = {
  'bank/deposit': '{"account": "alice", "cents": 10000}',
  'bank/withdraw': '{"account": "alice", "cents": 100}',
  'bank/transfer': '{"from": "alice", "to": "bob", "cents": 500}',
  'bank/balance': '"bob"',
  'bank/accounts': '{"limit": 20}',
  'bank/total': '{}',
  'kv/put': '{"key": "greeting", "value": "hello"}',
  'kv/get': '"greeting"',
};

type Call = { kind: 'command' | 'query'; name: string };
type Answer = { ok: boolean; unknown?: boolean; head: string; body: string };

function answerOf(result: Outputs['app']['submit']): Answer {
  switch (result.outcome) {
    case 'ok':
      return { ok: true, head: `committed at index ${count(result.index)}`, body: JSON.stringify(result.result) };
    case 'rejected': {
      const where = result.index === null ? '' : ` at index ${count(result.index)}`;
      return { ok: false, head: `rejected${where}: ${result.code}`, body: JSON.stringify(result.data) };
    }
    case 'unknown':
      return { ok: false, unknown: true, head: 'outcome unknown', body: result.message };
  }
}

async function run(call: Call, text: string): Promise<Answer> {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON: ${(error as Error).message}`);
  }
  if (call.kind === 'command') return answerOf(await api.app.submit.mutate({ name: call.name, input }));
  const { index, result } = await api.app.query.mutate({ name: call.name, input });
  return { ok: true, head: `answer as of index ${count(index)}`, body: JSON.stringify(result) };
}

/** Sends one command or query to the cluster and says what came of it. */
export function SubmitBox() {
  const { safe } = useFreshness();
  const described = useQuery({
    queryKey: ['app.describe'],
    queryFn: () => api.app.describe.query(),
    staleTime: 60_000,
    retry: 3,
  });
  const app = described.data;
  const calls: Call[] = [
    ...(app?.commands ?? []).map(({ name }) => ({ kind: 'command' as const, name })),
    ...(app?.queries ?? []).map(({ name }) => ({ kind: 'query' as const, name })),
  ];
  const [chosen, setChosen] = useState<string | null>(null);
  const call = calls.find(({ name }) => name === chosen) ?? calls[0];
  const [edited, setEdited] = useState<Record<string, string>>({});
  const text = call ? (edited[call.name] ?? EXAMPLES[`${app?.name}/${call.name}`] ?? '{}') : '';
  const send = useMutation({ mutationFn: () => run(call!, text) });
  return (
    <Panel title="Try it" meta={app ? `application ${app.name} ${app.version}` : undefined}>
      <form
        className="flex flex-col gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (call) send.mutate();
        }}
      >
        <div className="flex gap-2">
          <select
            aria-label="Command or query"
            className="field min-w-0 flex-1"
            value={call?.name ?? ''}
            disabled={calls.length === 0}
            onChange={(event) => {
              setChosen(event.target.value);
              send.reset();
            }}
          >
            {calls.length === 0 && <option value="">{described.isError ? 'no replica answers' : 'loading…'}</option>}
            {(['command', 'query'] as const).map((kind) => (
              <optgroup key={kind} label={kind === 'command' ? 'Commands (go into the log)' : 'Queries'}>
                {calls
                  .filter((c) => c.kind === kind)
                  .map(({ name }) => (
                    <option key={name}>{name}</option>
                  ))}
              </optgroup>
            ))}
          </select>
          <Button type="submit" tone="primary" disabled={!call || !safe || send.isPending}>
            <Send size={13} aria-hidden /> {send.isPending ? 'Sending…' : call?.kind === 'query' ? 'Ask' : 'Submit'}
          </Button>
        </div>
        <textarea
          aria-label="Input, JSON"
          spellCheck={false}
          rows={3}
          value={text}
          disabled={!call}
          onChange={(event) => call && setEdited({ ...edited, [call.name]: event.target.value })}
          className="field h-auto resize-y py-2 font-mono text-xs leading-5"
        />
      </form>
      <div aria-live="polite" className="mt-2 min-h-12">
        {send.isError && <p className="tone-bad text-xs break-words">{messageOf(send.error)}</p>}
        {send.data && (
          <div className="flex flex-col gap-1">
            <Tag tone={send.data.ok ? 'ok' : send.data.unknown ? 'warn' : 'bad'} className="self-start">
              {send.data.head}
            </Tag>
            <code className="font-mono text-xs break-all text-muted">{send.data.body}</code>
          </div>
        )}
        {!send.isError && !send.data && (
          <p className="text-xs text-faint">
            An unknown outcome means just that: it may have been committed. The command line retries it under the same
            session number.
          </p>
        )}
      </div>
    </Panel>
  );
}
