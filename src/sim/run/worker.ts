/** A client that works: sends bursts of commands on one connection, goes to another node when it breaks, and rests in between. */
import type { SimClient } from '../client.js';
import type { SeededRandom } from '../random.js';
import type { Stage } from './stage.js';

export interface Counts {
  acknowledged: number;
  refused: number;
  unknown: number;
}

/** What workers share. */
export interface Works {
  readonly stage: Stage;
  readonly random: SeededRandom;
  readonly restMs: number;
  readonly counts: Counts;
  /** No new work is begun. */
  over: boolean;
  /** Workers that have not ended. */
  active: number;
}

/** `UNKNOWN`, or no reply at all, is unknown; `ERR` is a refusal: nothing happened. */
export function outcomeOf(reply: string | undefined): 'acknowledged' | 'refused' | 'unknown' {
  if (reply === undefined || reply.startsWith('UNKNOWN')) return 'unknown';
  return reply.startsWith('ERR') ? 'refused' : 'acknowledged';
}

/** Calls `burst` with a live connection again and again; it calls `done` when it is over. */
export function work(works: Works, burst: (client: SimClient, done: () => void) => void): void {
  const { stage, random } = works;
  const { timers } = stage.cluster.clients;
  let client: SimClient | undefined;
  works.active++;
  const next = (): void => {
    if (works.over) {
      client?.close();
      works.active--;
      return;
    }
    if (!client || client.closed || random.chance(0.02)) {
      client?.close();
      client = stage.cluster.client(stage.nodes[random.integer(0, stage.nodes.length - 1)]!);
    }
    burst(client, () => timers.after(random.between(0, 2 * works.restMs), next));
  };
  timers.after(random.between(0, works.restMs), next);
}

/** Counts replies of all kinds. */
export function tally(counts: Counts, reply: string | undefined): 'acknowledged' | 'refused' | 'unknown' {
  const outcome = outcomeOf(reply);
  counts[outcome]++;
  return outcome;
}

/** The text of a reply that is a string, or null for `(nil)`; undefined if it is neither. */
export function textOf(reply: string | undefined): string | null | undefined {
  if (reply === '(nil)') return null;
  return reply?.startsWith('"') ? (JSON.parse(reply) as string) : undefined;
}
