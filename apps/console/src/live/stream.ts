/**
 * One event stream a browser: the tab that holds the Web Lock owns it and passes frames to the others by BroadcastChannel (six streams would use up all
 * of the browser's connections to this host). A closed or frozen leader loses the lock and another tab takes over.
 */
import type { ClusterFrame } from '../lib/frame.ts';
import { api } from './api.ts';
import type { LinkState, LiveStore } from './store.ts';

const NAME = 'chronon-live';
const RETRY_MS = 1_000;

type Note = { kind: 'frame'; frame: ClusterFrame } | { kind: 'link'; link: LinkState } | { kind: 'hello' };

/** Feeds `store` until the returned function is called. */
export function openStream(store: LiveStore): () => void {
  const stop = new AbortController();
  const channel = new BroadcastChannel(NAME);
  let leading = false;
  let newest: ClusterFrame | null = null;

  const tell = (note: Note) => {
    if (!stop.signal.aborted) channel.postMessage(note);
  };
  channel.addEventListener('message', (event: MessageEvent<Note>) => {
    const note = event.data;
    if (note.kind === 'hello') {
      if (leading && newest) tell({ kind: 'frame', frame: newest });
    } else if (!leading) {
      if (note.kind === 'frame') store.receive(note.frame);
      else store.setLink(note.link);
    }
  });

  const lead = () =>
    new Promise<void>((resolve) => {
      leading = true;
      let retry: ReturnType<typeof setTimeout> | undefined;
      let subscription: { unsubscribe(): void } | undefined;
      const state = (link: LinkState) => {
        store.setLink(link);
        tell({ kind: 'link', link });
      };
      const connect = () => {
        subscription = api.live.subscribe(undefined, {
          onData: ({ data }) => {
            newest = data;
            store.receive(data);
            tell({ kind: 'frame', frame: data });
          },
          onConnectionStateChange: ({ state: link }) => {
            if (link === 'connecting') state('connecting');
          },
          onError: () => {
            state('down');
            subscription?.unsubscribe();
            retry = setTimeout(connect, RETRY_MS);
          },
        });
      };
      connect();
      stop.signal.addEventListener('abort', () => {
        clearTimeout(retry);
        subscription?.unsubscribe();
        leading = false;
        resolve();
      });
    });

  tell({ kind: 'hello' });
  navigator.locks.request(NAME, { signal: stop.signal }, lead).catch(() => {});
  return () => {
    stop.abort();
    channel.close();
  };
}
