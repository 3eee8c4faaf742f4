/** A kernel's inside for tests: the test builds, operations as bytes, `run` and `apply`, and a state hash written a second time. */
import { type Kernel, loadKernel } from '../../src/kernel/kernel.js';

export const builds = ['test-debug', 'test-release'] as const;
export type Build = (typeof builds)[number];

export const Code = {
  set: 1,
  del: 2,
  incr: 3,
  cas: 4,
  commit: 5,
  persist: 6,
  session: 7,
  seq: 8,
  fence: 9,
  get: 16,
} as const;
export const Flag = { nx: 1, xx: 2, more: 4, ttl: 8, keep: 16 } as const;
export const Run = { done: 0, noMemory: 2, malformed: 3, busy: 4 } as const;

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function padded(...parts: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length & 3)) & 3)]);
}

export function operation(code: number, key: string, value: string | Uint8Array = '', flags = 0): Buffer {
  const data = typeof value === 'string' ? bytesOf(value) : value;
  const head = Buffer.alloc(12);
  head[0] = code;
  head[1] = flags;
  head.writeUInt32LE(key.length, 4);
  head.writeUInt32LE(data.length, 8);
  return padded(head, bytesOf(key), data);
}

export function set(key: string, value: string, flags = 0): Buffer {
  return operation(Code.set, key, value, flags);
}
/** A SET with a time to live. */
export function setFor(key: string, value: string, ms: number, flags = 0): Buffer {
  const ttl = Buffer.alloc(8);
  ttl.writeBigUInt64LE(BigInt(ms));
  return Buffer.concat([set(key, value, flags | Flag.ttl), ttl]);
}
export function persist(key: string): Buffer {
  return operation(Code.persist, key);
}
/** SESSION; SESSION number; what stands before the command of a sequence. */
export function session(number?: number): Buffer {
  return operation(Code.session, number === undefined ? '' : u64Text(number));
}
export function seq(number: number, sequence: number, from = 0): Buffer {
  return operation(Code.seq, u64Text(number), u64Text(sequence) + u64Text(from));
}
export function fence(): Buffer {
  return operation(Code.fence, '');
}

function u64Text(number: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes.toString('latin1');
}

export function del(...keys: string[]): Buffer {
  return Buffer.concat(keys.map((key, i) => operation(Code.del, key, '', i < keys.length - 1 ? Flag.more : 0)));
}
export function get(key: string): Buffer {
  return operation(Code.get, key);
}
export function incr(key: string, by: bigint): Buffer {
  const value = Buffer.alloc(8);
  value.writeBigInt64LE(by);
  return operation(Code.incr, key, value);
}
export function cas(key: string, expected: string, value: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(expected.length);
  return operation(Code.cas, key, Buffer.concat([length, bytesOf(expected), bytesOf(value)]));
}
export function commit(checks: readonly (readonly [string, number])[], ...operations: Buffer[]): Buffer {
  const parts = checks.map(([key, revision]) => {
    const head = Buffer.alloc(12);
    head.writeUInt32LE(key.length);
    head.writeBigUInt64LE(BigInt(revision), 4);
    return padded(head, bytesOf(key));
  });
  const body = Buffer.concat([...parts, ...operations]);
  const head = Buffer.alloc(12);
  head[0] = Code.commit;
  head.writeUInt32LE(checks.length, 4);
  head.writeUInt32LE(body.length, 8);
  return Buffer.concat([head, body]);
}

export interface Origin {
  readonly identity: string;
  readonly starts: number;
  readonly nonce: number;
}

/** The payload of a data entry. */
export function payload(origin: Origin, sequence: number, commands: number, ...operations: Buffer[]): Buffer {
  const head = Buffer.alloc(40);
  head.write(origin.identity.padEnd(16, '.'), 'latin1');
  head.writeUInt32LE(origin.starts, 16);
  head.writeUInt32LE(origin.nonce, 20);
  head.writeBigUInt64LE(BigInt(sequence), 24);
  head.writeUInt32LE(commands, 32);
  return Buffer.concat([head, ...operations]);
}

/** The payload of a config entry that sets these limits, one after the other. */
export function config(...limits: number[]): Buffer {
  const count = Buffer.alloc(4);
  count.writeUInt32LE(limits.length);
  return Buffer.concat([
    count,
    ...limits.map((limit) => {
      const lengths = Buffer.from([5, 0, 0, 0, 8, 0, 0, 0]);
      const value = Buffer.alloc(8);
      value.writeBigUInt64LE(BigInt(limit));
      return padded(lengths, bytesOf('limit'), value);
    }),
  ]);
}

export const EntryType = { noop: 0, data: 1, config: 2 } as const;

/** A whole record; its checksums are not the kernel's business and are left out. */
export function record(index: number, type: number, body: Uint8Array, logTime = 0): Buffer {
  const head = Buffer.alloc(64);
  head.writeUInt32LE(0x31454c44);
  head.writeBigUInt64LE(BigInt(index), 8);
  head.writeBigUInt64LE(1n, 16);
  head.writeBigUInt64LE(BigInt(logTime), 24);
  head.writeUInt32LE(body.length, 40);
  head[48] = type;
  head[49] = 1;
  return Buffer.concat([head, body]);
}

export interface Statistics {
  readonly revision: number;
  readonly applied: number;
  readonly keys: number;
  readonly logical: number;
  readonly limit: number;
  readonly used: number;
  readonly reserved: number;
  readonly checkpoint: number;
  readonly checked: number;
  readonly commands: number;
  readonly hash: bigint;
  readonly checkpointHash: bigint;
}

/** Where tests put what they give to the kernel: the region for fed bytes. */
export class TestKernel {
  readonly kernel: Kernel;
  readonly at: number;
  private readonly outputBlocks: number;

  constructor(build: Build, seed = 1, maximumPages = 0) {
    this.kernel = loadKernel({ build, seed: new Uint8Array(16).fill(seed), maximumPages });
    this.at = this.kernel.constant('STAGING_BASE');
    // The front half is not started: only its limit of a reply is needed for replies to be written.
    this.kernel.u32[(this.kernel.constant('FRONT_BASE') >>> 2) + 3] = 8 << 20;
    this.run(get('nothing'));
    this.outputBlocks = this.call('test_usedBlocks');
  }

  /** Records that take memory, whether they can be seen or not: blocks but for those of the output. */
  get records(): number {
    return this.call('test_usedBlocks') - this.outputBlocks;
  }

  call(name: string, ...args: number[]): number {
    return this.kernel.exports[name]!(...args);
  }

  /** For functions that take or return 64 bits. */
  call64(name: string, ...args: (number | bigint)[]): bigint {
    const f = this.kernel.exports[name] as unknown as (...args: (number | bigint)[]) => bigint;
    return f(...args);
  }

  word(constant: string, offset: string): number {
    return this.kernel.u32[(this.kernel.constant(constant) + this.kernel.constant(offset)) >>> 2]!;
  }

  put(bytes: Uint8Array, offset = 0): number {
    this.kernel.u8.set(bytes, this.at + offset);
    return this.at + offset;
  }

  /** Runs operations; the outcome and the lines of reply (messages are empty without the front half's texts). */
  run(...operations: Buffer[]): { outcome: number; lines: string[] } {
    const bytes = Buffer.concat(operations);
    const outcome = this.call('runBatch', this.put(bytes), bytes.length);
    if (outcome !== Run.done) return { outcome, lines: [] };
    const args = this.kernel.constant('ARGS_BASE');
    const start = this.kernel.u32[args >>> 2]!;
    const length = this.kernel.u32[(args >>> 2) + 1]!;
    const text = Buffer.from(this.kernel.u8.slice(start, start + length)).toString('latin1');
    return { outcome, lines: text.split('\n').slice(0, -1) };
  }

  /** Stages a record; false when there is no room. */
  stage(bytes: Uint8Array): boolean {
    const at = this.call('stageRoom', bytes.length) >>> 0;
    if (at === 0) return false;
    this.kernel.u8.set(bytes, at);
    this.call('stageRecord', bytes.length);
    return true;
  }

  /** Applies all that is staged; the last outcome and the number of slices. */
  applyAll(): { outcome: number; slices: number } {
    for (let slices = 1; ; slices++) {
      const outcome = this.call('apply');
      if (outcome !== 1) return { outcome, slices };
    }
  }

  pin(): bigint {
    return this.call64('test_pin');
  }
  unpin(revision: bigint): void {
    this.call64('test_unpin', revision);
  }
  get published(): bigint {
    return this.call64('test_published');
  }

  /** The value of a key as of a revision; undefined: absent. */
  getAt(key: string, revision: bigint, time = 0n): string | undefined {
    const at = this.put(bytesOf(key));
    return this.valueOf(Number(this.call64('test_findAt', at, key.length, 0, revision, time)));
  }
  getCurrent(key: string): string | undefined {
    return this.valueOf(this.call('test_findCurrent', this.put(bytesOf(key)), key.length, 0));
  }
  /** Revision of the newest record of a key; 0: absent. */
  revisionOf(key: string): number {
    const found = this.call('test_findCurrent', this.put(bytesOf(key)), key.length, 0) >>> 0;
    return found === 0 ? 0 : Number(this.call64('test_recRevision', found));
  }

  private valueOf(found: number): string | undefined {
    const at = found >>> 0;
    if (at === 0) return undefined;
    const start = this.call('test_recValue', at) >>> 0;
    const length = this.call('test_recValueLen', at);
    return Buffer.from(this.kernel.u8.slice(start, start + length)).toString('latin1');
  }

  /** Everything that a scan finds at a revision, in pages; between two of them `between` is called. */
  scan(revision: bigint, between = () => {}): [string, string][] {
    const cursor = this.at + 1_048_576;
    const base = this.kernel.constant('SCAN_BASE') >>> 2;
    const end = 0x10;
    const found: [string, string][] = [];
    this.kernel.u32.fill(0, cursor >>> 2, (cursor >>> 2) + 2);
    while (this.kernel.u32[(cursor >>> 2) + 1] !== end) {
      const n = Number(this.call64('test_scanSome', cursor, revision, 0n));
      for (let i = 0; i < n; i++) {
        const at = this.kernel.u32[base + i]!;
        const key = this.call('test_recKey', at) >>> 0;
        const bytes = this.kernel.u8.slice(key, key + this.call('test_recKeyLen', at));
        found.push([Buffer.from(bytes).toString('latin1'), this.valueOf(at)!]);
      }
      between();
    }
    return found;
  }

  stats(): Statistics {
    const at = this.call('stats') >>> 3;
    const numbers = this.kernel.f64.slice(at, at + 10);
    const hashes = new BigUint64Array(this.kernel.f64.slice(at + 10, at + 12).buffer);
    const [revision, applied, keys, logical, limit, used, reserved, checkpoint, checked, commands] = numbers;
    return {
      revision: revision!,
      applied: applied!,
      keys: keys!,
      logical: logical!,
      limit: limit!,
      used: used!,
      reserved: reserved!,
      checkpoint: checkpoint!,
      checked: checked!,
      commands: commands!,
      hash: hashes[0]!,
      checkpointHash: hashes[1]!,
    };
  }
}

/** The state hash of one record, from ARCHITECTURE.md alone. */
export function stateHash(key: string, value: string, revision: bigint, system: boolean, deadline = 0n): bigint {
  const [p1, p2, p3, p4, p5] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1];
  const rotl = (x: number, n: number) => ((x << n) | (x >>> (32 - n))) >>> 0;
  const avalanche = (x: number) => {
    let h = (x ^ (x >>> 15)) >>> 0;
    h = Math.imul(h, p2) >>> 0;
    h = (h ^ (h >>> 13)) >>> 0;
    h = Math.imul(h, p3) >>> 0;
    return (h ^ (h >>> 16)) >>> 0;
  };
  const data = bytesOf(key + value);
  const blocks = Buffer.concat([data, Buffer.alloc((16 - (data.length & 15)) & 15), Buffer.alloc(16)]);
  blocks.writeBigUInt64LE(revision, blocks.length - 16);
  blocks.writeBigUInt64LE(deadline, blocks.length - 8);
  const v = [p1 + p2 + key.length, (p2 ^ value.length) >>> 0, p3 + (system ? 1 : 0), p4].map((x) => x >>> 0);
  for (let at = 0; at < blocks.length; at += 16) {
    for (let i = 0; i < 4; i++) {
      const mixed = (v[i]! + Math.imul(blocks.readUInt32LE(at + 4 * i), p2)) >>> 0;
      v[i] = Math.imul(rotl(mixed, 13), p1) >>> 0;
    }
  }
  const [v1, v2, v3, v4] = v as [number, number, number, number];
  const lo = avalanche((rotl(v1, 1) + rotl(v2, 7) + rotl(v3, 12) + rotl(v4, 18)) >>> 0);
  const hi = avalanche((Math.imul((v1 ^ rotl(v3, 17)) >>> 0, p4) + Math.imul((v2 ^ rotl(v4, 11)) >>> 0, p5)) >>> 0);
  return (BigInt(hi) << 32n) | BigInt(lo);
}

/** Logical size of a record, from ARCHITECTURE.md alone. */
export function logicalSize(key: string, value: string): number {
  const n = 40 + key.length + value.length;
  const up = (step: number) => Math.ceil(n / step) * step;
  if (n <= 512) return up(16) + 16;
  if (n > 32_768) return up(65_536) + 16;
  return up(2 ** Math.floor(Math.log2(n - 1)) / 8) + 16;
}
