/** Asks a node one thing by the cluster exchange (src/protocol/cluster.ts). */
import type { Env, Socket } from '../env/env.js';
import {
  CLUSTER_REPLY_BYTES,
  type ClusterError,
  ClusterFormatError,
  type ClusterRequest,
  encodeRequest,
  type Fields,
  parseReply,
} from '../protocol/cluster.js';
import { splitAddress } from './options.js';

/** What came of it: what the node answered, or `unreachable`, with why nobody did. */
export type Answer =
  | { readonly kind: 'answer'; readonly fields: Fields }
  | { readonly kind: 'error'; readonly error: ClusterError }
  | { readonly kind: 'unreachable'; readonly reason: string };

/** `done` is called once, later; never after the function that is returned was called, which gives up. */
export function askNode(
  env: Pick<Env, 'network' | 'timers'>,
  address: string,
  request: ClusterRequest,
  timeoutMs: number,
  done: (answer: Answer) => void,
): () => void {
  const { host, port } = splitAddress(address);
  const pieces: Uint8Array[] = [];
  let length = 0;
  let over = false;
  const close = (): void => {
    over = true;
    timer.cancel();
    socket.destroy();
  };
  const finish = (answer: Answer): void => {
    if (over) return;
    close();
    done(answer);
  };
  const fail = (reason: string): void => finish({ kind: 'unreachable', reason: `${address}: ${reason}` });
  const timer = env.timers.after(timeoutMs, () => fail(`no answer within ${timeoutMs / 1000} s`));
  const socket: Socket = env.network.dial(host, port, () => socket.write(Buffer.from(encodeRequest(request))));
  socket.on({
    data: (bytes) => {
      pieces.push(bytes);
      length += bytes.length;
      if (length > CLUSTER_REPLY_BYTES) fail('the answer is too long');
      else if (bytes.includes(0x0a)) finish(read(address, Buffer.concat(pieces).toString()));
    },
    end: () => fail('it closed the connection'),
    drain: () => {},
    close: (error) => fail(error?.message ?? 'it closed the connection'),
  });
  return () => {
    if (!over) close();
  };
}

function read(address: string, text: string): Answer {
  const line = text.slice(0, text.indexOf('\n'));
  try {
    const reply = parseReply(line);
    return 'error' in reply ? { kind: 'error', error: reply } : { kind: 'answer', fields: reply };
  } catch (error) {
    if (!(error instanceof ClusterFormatError)) throw error;
    // A node of another version, or one that cannot serve this connection, says so in a line of the clients' protocol.
    const what = line.startsWith('ERR ') ? line : `not a node of Distributed (${error.message})`;
    return { kind: 'unreachable', reason: `${address}: ${what}` };
  }
}
