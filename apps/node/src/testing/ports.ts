/**
 * Free ports for tests: in blocks, below the range from which the kernel gives ports to outgoing connections (one of those, or a dial that meets itself,
 * would take the port of a replica that is down for a moment). A process holds the last port of its blocks open while it lives, so that two test
 * processes never share one.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

const BLOCK = 100;
const LOWEST = 10_000;
const HIGHEST = ephemeralFrom();
/** Holds this process's blocks until it ends. */
const held: Server[] = [];
let next = 0;
let end = 0;

/** First port of the kernel's own range; a usual one where it is not to be known or leaves no room. */
function ephemeralFrom(): number {
  try {
    const from = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'), 10);
    return from >= LOWEST + 10 * BLOCK ? Math.min(from, 60_000) : 32_768;
  } catch {
    return 32_768;
  }
}

async function listen(port: number): Promise<Server | null> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  if (server !== null) await new Promise((resolve) => server.close(resolve));
  return server !== null;
}

/** Takes a block that no other test process has; its last port holds it. */
async function takeBlock(): Promise<number> {
  const blocks = Math.floor((HIGHEST - LOWEST) / BLOCK);
  const first = Math.floor(Math.random() * blocks);
  for (let i = 0; i < blocks; i++) {
    const base = LOWEST + ((first + i) % blocks) * BLOCK;
    const holder = await listen(base + BLOCK - 1);
    if (holder === null) continue;
    held.push(holder.unref());
    return base;
  }
  throw new Error(`no block of ports is free between ${LOWEST} and ${HIGHEST}`);
}

/** So many ports that are free and stay so, but for strangers. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    if (next === end) {
      next = await takeBlock();
      end = next + BLOCK - 1;
    }
    const port = next++;
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

/** A base for `chronon start --port`: it and the `BLOCK - 2` ports above are free. */
export async function freeBase(): Promise<number> {
  for (;;) {
    const base = await takeBlock();
    const ports = Array.from({ length: BLOCK - 1 }, (_, i) => base + i);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return base;
  }
}
