import type { NodeId } from './types.js';

/**
 * Leadership on its way from this leader to another voter (dissertation §3.10): no proposals are taken any more, the other one is
 * brought up to date, then told to campaign without waiting. It wins at once unless it fails or messages are lost; after an
 * election time-out the leader takes proposals again.
 *
 * That is all it gives up: one who was told to campaign may do so at any later time in this term, and is voted for without regard
 * to this leader. It does no harm to safety, but a leader that has told anyone has no lease for the rest of its term (reads.ts).
 */
export class Transfer {
  readonly to: NodeId;
  readonly #since: number;
  #told = false;

  constructor(to: NodeId, now: number) {
    this.to = to;
    this.#since = now;
  }

  /** Whether it has to be told to campaign now. */
  due(): boolean {
    const due = !this.#told;
    this.#told = true;
    return due;
  }

  /** Messages are lost: it is told again with the next heartbeat. */
  repeat(): void {
    this.#told = false;
  }

  expired(now: number, patience: number): boolean {
    return now - this.#since >= patience;
  }
}
