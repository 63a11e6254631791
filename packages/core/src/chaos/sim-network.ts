/**
 * SimNetwork: directed links between nodes, carrying parcels. Each link delays, loses, duplicates, reorders and clogs; partitions cut links.
 * Replicas are nodes 1..n, clients are nodes above.
 *
 * Invariants: frames reach the receiver in memory of its own (parcel.ts); nothing is delivered synchronously; a link holds at most
 * LINK_MESSAGES_MAX messages, what comes beyond is lost.
 */
import { copyOf, mixParcel, type Parcel } from './parcel.ts';
import type { Prng } from '../prng.ts';
import type { EventQueue } from './event-queue.ts';
import type { Statistics } from './sometimes.ts';
import type { Trace } from './trace.ts';

/** Messages in flight on one directed link. */
export const LINK_MESSAGES_MAX = 4096;

export interface NetworkRates {
  /** Usual one-way delay, microseconds, low and high. */
  delayLowUs: number;
  delayHighUs: number;
  loss: number;
  duplication: number;
  /** Chance that a message is held back so that later ones overtake it. */
  reordering: number;
  holdBackUs: number;
  /** Chance that a message clogs its link: everything behind it waits as well. */
  clogging: number;
  clogUs: number;
}

export const PERFECT_NETWORK: NetworkRates = {
  delayLowUs: 100,
  delayHighUs: 300,
  loss: 0,
  duplication: 0,
  reordering: 0,
  holdBackUs: 0,
  clogging: 0,
  clogUs: 0,
};

interface Link {
  inFlight: number;
  /** Nothing is delivered before this virtual time. */
  cloggedUntilUs: number;
  /** Without reordering a link is first in, first out. */
  lastDeliveryUs: number;
  cuts: number;
}

export class SimNetwork {
  rates: NetworkRates;
  private readonly queue: EventQueue;
  private readonly prng: Prng;
  private readonly statistics: Statistics;
  private readonly trace: Trace;
  private readonly links = new Map<number, Link>();

  constructor(queue: EventQueue, prng: Prng, rates: NetworkRates, statistics: Statistics, trace: Trace) {
    this.queue = queue;
    this.prng = prng;
    this.rates = rates;
    this.statistics = statistics;
    this.trace = trace;
  }

  /** Sends a parcel; `deliver` is called each time it arrives. */
  send(from: number, to: number, parcel: Parcel, deliver: (parcel: Parcel) => void): void {
    const link = this.link(from, to);
    const { rates, prng } = this;
    this.statistics.messagesSent++;
    if (link.cuts > 0 || prng.chance(rates.loss) || link.inFlight >= LINK_MESSAGES_MAX) {
      this.lose(from, to);
      return;
    }
    mixParcel(this.trace, from * 64 + to, parcel);
    this.carry(link, from, to, parcel, deliver);
    if (prng.chance(rates.duplication)) {
      this.statistics.messagesDuplicated++;
      this.carry(link, from, to, copyOf(parcel), deliver);
    }
  }

  /** Cuts a directed link; cuts nest. */
  cut(from: number, to: number): void {
    this.link(from, to).cuts++;
  }

  /** Cuts a directed link for ever: no heal of whoever cut it before gives it back. */
  sever(from: number, to: number): void {
    this.link(from, to).cuts = Number.POSITIVE_INFINITY;
  }

  heal(from: number, to: number): void {
    const link = this.link(from, to);
    if (link.cuts > 0) link.cuts--;
  }

  isCut(from: number, to: number): boolean {
    return this.link(from, to).cuts > 0;
  }

  /** Every link works again, and perfectly. */
  healAll(): void {
    for (const link of this.links.values()) {
      link.cuts = 0;
      link.cloggedUntilUs = 0;
    }
    this.rates = PERFECT_NETWORK;
  }

  private carry(link: Link, from: number, to: number, parcel: Parcel, deliver: (parcel: Parcel) => void): void {
    const { rates, prng, queue } = this;
    const now = queue.now;
    let due = now + prng.range(rates.delayLowUs, rates.delayHighUs);
    if (prng.chance(rates.clogging))
      link.cloggedUntilUs = Math.max(link.cloggedUntilUs, due + prng.below(rates.clogUs));
    due = Math.max(due, link.cloggedUntilUs);
    if (prng.chance(rates.reordering)) {
      due += prng.below(rates.holdBackUs + 1);
      this.statistics.messagesReordered++;
    } else {
      due = Math.max(due, link.lastDeliveryUs);
      link.lastDeliveryUs = due;
    }
    link.inFlight++;
    queue.at(due, () => {
      link.inFlight--;
      if (link.cuts > 0) this.lose(from, to);
      else deliver(parcel);
    });
  }

  private lose(from: number, to: number): void {
    this.statistics.messagesLost++;
    this.trace.mix(from, to);
  }

  private link(from: number, to: number): Link {
    const key = from * 1024 + to;
    let link = this.links.get(key);
    if (link === undefined) {
      link = { inFlight: 0, cloggedUntilUs: 0, lastDeliveryUs: 0, cuts: 0 };
      this.links.set(key, link);
    }
    return link;
  }
}
