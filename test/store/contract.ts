/**
 * What every store must do, byte for byte: store.ts and ARCHITECTURE.md as tests. The same suite runs on every store, so a
 * difference between two of them cannot hide.
 */
import { describe } from 'vitest';
import type { Store, StoreOptions } from '../../src/store/store.js';
import { applyContract } from './contract-apply.js';
import { commandContract } from './contract-commands.js';
import { configContract } from './contract-config.js';
import { connectionContract } from './contract-connections.js';
import { expiryContract } from './contract-expiry.js';
import { limitContract } from './contract-limits.js';
import { outcomeContract } from './contract-outcomes.js';
import { protocolContract } from './contract-protocol.js';
import { sessionContract } from './contract-sessions.js';
import { snapshotContract } from './contract-snapshots.js';
import { staleContract } from './contract-stale.js';
import { transactionContract } from './contract-transactions.js';
import { Harness, testOptions } from './harness.js';

/** Makes a store with the options, those of `testOptions` for what is left out. */
export type MakeHarness = (options?: Partial<StoreOptions>) => Harness;

export function contract(name: string, makeStore: (options: StoreOptions) => Store): void {
  const make: MakeHarness = (options) => new Harness(makeStore({ ...testOptions(), ...options }));
  describe(`contract: ${name}`, () => {
    protocolContract(make);
    commandContract(make);
    connectionContract(make);
    transactionContract(make);
    outcomeContract(make);
    applyContract(make);
    limitContract(make);
    snapshotContract(make);
    expiryContract(make);
    staleContract(make);
    sessionContract(make);
    configContract(make);
  });
}
