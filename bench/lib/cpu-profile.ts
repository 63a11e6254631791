/** Reads a V8 profile (`node --cpu-prof`): functions by self time, with their place in the sources. */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
      readonly columnNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export interface SelfTime {
  readonly name: string;
  /** file:line, in the sources where there is a source map. */
  readonly place: string;
  readonly ms: number;
  /** Of all time that was not idle. */
  readonly percent: number;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NOT_WORK = new Set(['(idle)', '(root)']);

/** The functions with most self time, idle time left out. */
export function topFunctions(path: string, count: number): SelfTime[] {
  const profile = JSON.parse(readFileSync(path, 'utf8')) as Profile;
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const places = new Places();
  const self = new Map<string, { name: string; place: string; us: number }>();
  let total = 0;
  for (const [i, id] of profile.samples.entries()) {
    const frame = frames.get(id);
    if (frame === undefined || NOT_WORK.has(frame.functionName)) continue;
    const us = profile.timeDeltas[i] ?? 0;
    total += us;
    const place = places.of(frame.url, frame.lineNumber, frame.columnNumber);
    const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
    const key = `${name} ${place}`;
    const entry = self.get(key) ?? { name, place, us: 0 };
    entry.us += us;
    self.set(key, entry);
  }
  return [...self.values()]
    .sort((a, b) => b.us - a.us)
    .slice(0, count)
    .map(({ name, place, us }) => ({
      name,
      place,
      ms: Math.round(us / 1000),
      percent: Number(((100 * us) / total).toFixed(1)),
    }));
}

class Places {
  private readonly maps = new Map<string, SourceMap | null>();

  of(url: string, line: number, column: number): string {
    if (!url.startsWith('file:')) return url === '' ? 'native' : `${url}:${line + 1}`;
    const path = fileURLToPath(url);
    const entry = this.map(path)?.findEntry(line, column);
    if (entry !== undefined && 'originalLine' in entry) {
      const source = fileURLToPath(new URL(entry.originalSource, url));
      return `${relative(ROOT, source)}:${entry.originalLine + 1}`;
    }
    return `${relative(ROOT, path)}:${line + 1}`;
  }

  private map(path: string): SourceMap | null {
    let map = this.maps.get(path);
    if (map === undefined) {
      const file = `${path}.map`;
      map = existsSync(file) ? new SourceMap(JSON.parse(readFileSync(file, 'utf8')) as SourceMapPayload) : null;
      this.maps.set(path, map);
    }
    return map;
  }
}
