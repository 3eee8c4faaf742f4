/**
 * A node with an empty folder asks to be let into a cluster: with `--join`, or in the place of a folder that was lost.
 *
 * It asks one address after another, goes where it is told that the leader is, and asks again until it is answered. What it
 * asks for can be asked for any number of times: whoever leads looks at who it is, and does what is still to be done. The answer, once the node is
 * a learner by a committed entry, is the cluster's founding record; with that the folder belongs to it.
 */
import type { Env } from '../env/env.js';
import type { Founding } from '../log/types.js';
import { type Fields, type JoinAnswer, readJoinAnswer } from '../protocol/cluster.js';
import { type Answer, askNode } from './ask.js';
import type { LogLevel, PeerAddress } from './options.js';

/** Pause after all addresses were asked in vain. */
const roundMs = 300;
/** A leader has so long to answer: it may have to finish another change first. */
const answerMs = 15_000;
/** So often an asker goes where it is told that the leader is, before it begins anew. */
const mostHops = 3;
const mostAddresses = 32;

export interface JoinHost {
  readonly env: Pick<Env, 'network' | 'timers' | 'clock'>;
  readonly id: number;
  readonly address: string;
  readonly identity: Uint8Array;
  /** With nobody answering at all for so long, the node gives up; undefined: never. */
  readonly giveUpMs: number | undefined;
  readonly log: (level: LogLevel, text: string) => void;
  /** The cluster has taken this node in; the members by now. */
  joined(founding: Founding, members: readonly PeerAddress[]): void;
  /** It never will, or nobody answers. */
  refused(reason: string): void;
}

export class Joining {
  readonly #host: JoinHost;
  readonly #addresses: string[];
  readonly #since: number;
  /** Addresses still to be asked in this round, and how often it was sent elsewhere in it. */
  #round: string[];
  #hops = 0;
  /** Somebody has answered, with whatever. */
  #answered = false;
  #lastWord = '';
  readonly #told = new Set<string>();
  #cancel: () => void = () => {};

  /** Asks these addresses, in turn. */
  constructor(host: JoinHost, addresses: readonly string[]) {
    this.#host = host;
    this.#addresses = [...new Set(addresses)].filter((address) => address !== host.address);
    this.#round = [...this.#addresses];
    this.#since = host.env.clock.monotonic();
    host.log('info', `asks ${this.#addresses.join(', ')} to join the cluster as node ${host.id} at ${host.address}`);
    this.#next();
  }

  /** A node that may know more. */
  also(address: string): void {
    if (this.#addresses.includes(address) || address === this.#host.address || this.#addresses.length >= mostAddresses)
      return;
    this.#addresses.push(address);
    this.#round.push(address);
  }

  stop(): void {
    this.#cancel();
  }

  #next(): void {
    const address = this.#round.shift();
    if (address === undefined) this.#pause();
    else this.#ask(address);
  }

  #pause(): void {
    const { env, giveUpMs } = this.#host;
    const late = giveUpMs !== undefined && env.clock.monotonic() - this.#since >= giveUpMs;
    if (late && !this.#answered) {
      this.#host.refused(this.#lastWord);
      return;
    }
    const timer = env.timers.after(roundMs, () => {
      this.#round = [...this.#addresses];
      this.#hops = 0;
      this.#next();
    });
    this.#cancel = () => timer.cancel();
  }

  #ask(address: string): void {
    const { env, id, identity } = this.#host;
    const request = {
      request: 'join',
      id,
      address: this.#host.address,
      identity: Buffer.from(identity).toString('hex'),
    } as const;
    this.#cancel = askNode(env, address, request, answerMs, (answer) => this.#heard(answer));
  }

  #heard(answer: Answer): void {
    if (answer.kind === 'unreachable') {
      this.#say(answer.reason);
      this.#next();
      return;
    }
    this.#answered = true;
    if (answer.kind === 'answer') {
      this.#accept(answer.fields);
      return;
    }
    const { error, leader, again } = answer.error;
    if (leader !== null && this.#hops++ < mostHops) this.#ask(leader);
    else if (leader !== null || again) {
      this.#say(error);
      this.#next();
    } else this.#host.refused(`node ${this.#host.id} at ${this.#host.address} was not let into the cluster: ${error}`);
  }

  /** The same again is not worth another line. */
  #say(text: string): void {
    if (!this.#told.has(text)) this.#host.log('warn', `cannot join yet: ${text}`);
    this.#told.add(text);
    this.#lastWord = text;
  }

  #accept(fields: Fields): void {
    let answer: JoinAnswer;
    try {
      answer = readJoinAnswer(fields);
    } catch (error) {
      this.#say(`the answer is not what it should be: ${(error as Error).message}`);
      this.#next();
      return;
    }
    const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
    const members = answer.founding.map(({ id, address, identity }) => ({ id, address, identity: bytes(identity) }));
    this.#host.joined({ clusterId: bytes(answer.cluster), members }, answer.members);
  }
}
