import { afterEach, expect, it } from 'vitest';
import type { Listener } from '../../src/env/env.js';
import { realNetwork } from '../../src/env/real-network.js';
import { realRandom, realTimers } from '../../src/env/real-time.js';
import { createTransport } from '../../src/transport/transport.js';
import type { PeerMessage, Transport } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';
import { forward, helloOf, texts } from './support.js';

const DEADLINE_MS = 20_000;
const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A transport behind a port of this machine. */
async function node(id: number, received: PeerMessage[]): Promise<{ transport: Transport; port: number }> {
  const env = { timers: realTimers, network: realNetwork(), random: realRandom };
  const transport = createTransport({
    id,
    env,
    crc32c: plainCrc32c,
    handlers: {
      hello: () => helloOf(id),
      judge: () => undefined,
      refused: () => {},
      link: () => {},
      message: (message) => received.push(message),
      log: () => {},
    },
  });
  const listener: Listener = await env.network.listen('127.0.0.1', 0, (socket) => {
    const data = (bytes: Uint8Array): void => transport.accept(socket, bytes);
    socket.on({ data, end: () => socket.destroy(), drain: () => {}, close: () => {} });
  });
  closers.push(() => {
    listener.close();
    transport.close();
  });
  return { transport, port: listener.port };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A message of 16 MB that has begun to leave node 2 for node 1. */
async function largeOnItsWay(): Promise<{ atOne: PeerMessage[]; two: Transport; large: PeerMessage }> {
  const atOne: PeerMessage[] = [];
  const one = await node(1, atOne);
  const two = await node(2, []);
  one.transport.connect([{ id: 2, address: `127.0.0.1:${two.port}` }]);
  two.transport.connect([{ id: 1, address: `127.0.0.1:${one.port}` }]);
  await until(() => one.transport.isUp(2) && two.transport.isUp(1));
  const large = forward(1, 16_000_000);
  two.transport.send(large);
  two.transport.flush();
  return { atOne, two: two.transport, large };
}

it('carries large and small messages over real sockets, the small ones between the pieces of the large', async () => {
  const { atOne, two, large } = await largeOnItsWay();
  let round = 0;
  await until(() => {
    two.send({ type: 'heartbeat', from: 2, to: 1, term: 1, commit: 0, round: ++round });
    two.flush();
    return atOne.some((message) => message.type === 'forward');
  });
  const place = atOne.findIndex((message) => message.type === 'forward');
  expect(place).toBeGreaterThan(0);
  expect(texts([atOne[place]!])).toEqual(texts([large]));
  expect(atOne.filter((message) => message.type === 'heartbeat').map((message) => message.round)).toEqual(
    Array.from({ length: atOne.length - 1 }, (_, at) => at + 1),
  );
});

it('notices that a peer has closed', async () => {
  const one = await node(1, []);
  const two = await node(2, []);
  one.transport.connect([{ id: 2, address: `127.0.0.1:${two.port}` }]);
  await until(() => one.transport.isUp(2));
  two.transport.close();
  await until(() => !one.transport.isUp(2));
});

it('carries a large message to its end although nothing is sent behind it', async () => {
  const { atOne, large } = await largeOnItsWay();
  await until(() => atOne.length > 0);
  expect(texts(atOne)).toEqual(texts([large]));
});
