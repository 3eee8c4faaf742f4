/**
 * Leadership handed over: because somebody asks for it, because the node is told to stop, or because its disk has become
 * so slow that the cluster waits for it (dissertation §3.10).
 */
import type { Timers } from '../env/env.js';
import type { WriteLatency } from '../log/types.js';
import type { Raft } from '../raft/raft.js';
import type { NodeId } from '../raft/types.js';

const lookMs = 20;

/** A leader's writes are slow when their median is above this, or one takes this much longer. */
const slowMedianMs = 200;
const stuckMs = 1_000;
/** So many seconds in a row. */
const slowSeconds = 3;
/** And it does so once in so long: the disks of all may be slow. */
const coolDownMs = 60_000;

export type Handover = { readonly ok: true; readonly leader: NodeId } | { readonly ok: false; readonly error: string };

export interface HandoverHost {
  readonly id: NodeId;
  readonly timers: Timers;
  /** Raft was given an input. */
  nudge(): void;
}

/** Hands over to `to` (0: to whom it is best), and waits until somebody else leads, but for no longer than `patienceMs`. */
export async function handOver(
  { id: own, timers, nudge }: HandoverHost,
  raft: Raft,
  to: NodeId,
  patienceMs: number,
): Promise<Handover> {
  const successor = to === 0 ? raft.chooseSuccessor() : to;
  if (successor === 0) return { ok: false, error: 'there is no other voter that could lead' };
  const refusal = raft.transfer(successor);
  if (refusal === 'not-eligible')
    return { ok: false, error: `node ${successor} is no voter that could lead; see: distributed cluster status` };
  if (refusal === 'not-leader') return { ok: false, error: 'this node does not lead' };
  nudge();
  for (let waited = 0; waited < patienceMs; waited += lookMs) {
    await new Promise<void>((resolve) => timers.after(lookMs, resolve));
    if (raft.leader !== 0 && raft.leader !== own) return { ok: true, leader: raft.leader };
  }
  return { ok: false, error: `node ${successor} did not take over; node ${own} may still lead` };
}

/** Watches the disk of a leader. */
export class SlowDisk {
  #seconds = 0;
  #quietUntil = 0;

  /** To be called each second, with whether this node leads. True: it should hand over. */
  look(leads: boolean, { writes, medianMs, inFlightMs }: WriteLatency, now: number): boolean {
    const slow = leads && ((writes >= 3 && medianMs > slowMedianMs) || inFlightMs > stuckMs);
    this.#seconds = slow ? this.#seconds + 1 : 0;
    if (this.#seconds < slowSeconds || now < this.#quietUntil) return false;
    this.#quietUntil = now + coolDownMs;
    this.#seconds = 0;
    return true;
  }
}
