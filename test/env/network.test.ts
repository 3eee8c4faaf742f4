import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { realNetwork } from '../../src/env/real-network.js';
import { describeNetwork } from './network-contract.js';

const DEADLINE_MS = 10_000;

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${condition}`);
    await delay(1);
  }
}

/** On one machine everything that is about to happen does within a few turns of the loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await delay(1);
}

describeNetwork('real', () => ({ network: realNetwork(), host: '127.0.0.1', until, settle }));

describe('the real network', () => {
  it('says why it cannot listen on an address that is not its own', async () => {
    await expect(realNetwork().listen('192.0.2.1', 0, () => {})).rejects.toMatchObject({
      code: 'other',
      message: expect.stringContaining('192.0.2.1:0'),
    });
  });

  it('closes a socket whose host has no address with an error', async () => {
    let error: Error | undefined;
    const socket = realNetwork().dial('host.invalid', 1, () => {});
    socket.on({
      data: () => {},
      end: () => {},
      drain: () => {},
      close: (reason) => {
        error = reason;
      },
    });
    await until(() => error !== undefined);
    expect(error).toBeInstanceOf(Error);
  });
});
