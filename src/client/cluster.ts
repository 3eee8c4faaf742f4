/** Asks a cluster to change or tell its membership (src/protocol/cluster.ts): finds the leader by itself. */
import {
  ClusterFormatError,
  type ClusterRequest,
  encodeRequest,
  type Fields,
  parseReply,
} from '../protocol/cluster.js';
import { type Address, formatAddress, parseAddress } from './address.js';
import { Connection } from './connection.js';

const connectMs = 2_000;
/** A leader may have to finish another change first. */
const answerMs = 15_000;
const pauseMs = 200;

/**
 * The fields of the answer. Asks the addresses in turn, goes where they say that the leader is, and tries again, for
 * `patienceMs`, what may pass (an election). Rejects with an Error that says what the leader has against it, or why nobody could be asked.
 */
export async function askCluster(
  addresses: readonly Address[],
  request: ClusterRequest,
  patienceMs: number,
): Promise<Fields> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const { fields, error, final } = await askAll(addresses, request);
    if (fields) return fields;
    if (final || performance.now() >= deadline) throw new Error(error);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

interface Round {
  readonly fields?: Fields;
  readonly error: string;
  /** Asking again would not help. */
  readonly final: boolean;
}

async function askAll(addresses: readonly Address[], request: ClusterRequest): Promise<Round> {
  const queue = [...addresses];
  const asked = new Set<string>();
  const reasons: string[] = [];
  let again = false;
  for (let address = queue.shift(); address; address = queue.shift()) {
    const name = formatAddress(address);
    if (asked.has(name)) continue;
    asked.add(name);
    try {
      const reply = await askOne(address, request);
      if (!('error' in reply)) return { fields: reply, error: '', final: false };
      if (reply.leader === null && !reply.again) return { error: reply.error, final: true };
      if (reply.leader !== null) queue.unshift(parseAddress(reply.leader));
      reasons.push(reply.error);
      again = true;
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  return { error: `${again ? '' : 'no node answers: '}${reasons.join('; ')}`, final: !again };
}

/** One question to one node. Rejects with an Error that begins with the address when there is no answer. */
async function askOne(address: Address, request: ClusterRequest): Promise<ReturnType<typeof parseReply>> {
  const name = formatAddress(address);
  const connection = await Connection.open(address, connectMs);
  let timer: NodeJS.Timeout | undefined;
  try {
    const line = await new Promise<string>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${name}: no answer within ${answerMs / 1000} s`)), answerMs);
      connection.on({
        reply: (bytes) => resolve(bytes.toString()),
        closed: (reason) => reject(new Error(`${name}: ${reason}`)),
      });
      connection.send(Buffer.from(encodeRequest(request)));
    });
    return read(line, name);
  } finally {
    clearTimeout(timer);
    connection.close();
  }
}

function read(line: string, name: string): ReturnType<typeof parseReply> {
  try {
    return parseReply(line);
  } catch (error) {
    if (!(error instanceof ClusterFormatError)) throw error;
    throw new Error(`${name}: ${line.startsWith('ERR ') ? line : `not a node of Distributed (${error.message})`}`);
  }
}
