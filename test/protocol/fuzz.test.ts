/**
 * Malformed input, by grammar and by mutation: lines to both stores, frames and control parts to the transport, first bytes to the
 * sniffer. Nothing throws but the errors that close a link, nothing stalls for 50 ms, and memory does not grow.
 * FUZZ_INPUTS says how many lines and frames in all (125,000), FUZZ_SEED with which seed.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, it } from 'vitest';
import { commands } from '../../src/protocol/commands.js';
import { sniff } from '../../src/protocol/sniff.js';
import { JsStore } from '../../src/store/js-store.js';
import type { Store } from '../../src/store/store.js';
import { WasmStore } from '../../src/store/wasm-store.js';
import { ControlError } from '../../src/transport/control.js';
import { FrameError, FrameFlag, type FrameKind, FrameWriter, greeting } from '../../src/transport/frame.js';
import { SendQueue } from '../../src/transport/queue.js';
import { plainCrc32c } from '../log/crc32c.js';
import { Harness, testOptions } from '../store/harness.js';
import { Dice } from '../store/random-input.js';
import { allMessages, MemorySocket, Receiver } from '../transport/support.js';

const inputs = Number(process.env.FUZZ_INPUTS ?? 125_000);
const firstSeed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000);
const timeout = 60_000 + inputs / 5;
const mostStallMs = 50;
const mostGrowthBytes = 64 * 1024 ** 2;
const linesAtOnce = 32;
/** A store is thrown away after so many lines: keys that mutation makes up would fill any. */
const linesOfAStore = 20_000;

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;

function held(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Runs `work`, and says how long it took: of the clock or of the processor, whichever is less, for others may be using it. */
function milliseconds(work: () => void): number {
  const cpu = process.cpuUsage();
  const began = performance.now();
  work();
  const took = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return Math.min(took, (user + system) / 1_000);
}

const words = [
  '',
  '0',
  '1',
  '-1',
  '"',
  '""',
  '"a b"',
  'k',
  'key',
  '\\',
  '"\\u00e9"',
  '"\\udc80"',
  '"\\x"',
  '9223372036854775807',
];
const options = ['NX', 'XX', 'EX', 'PX', 'LIMIT', 'STALE', 'FROM', '10', '1e3', '10000000000000000'];

/** A line that may be a command, or nearly one. */
function line(dice: Dice): string {
  const name = dice.once(12) ? dice.of('G', 'SETT', 'sET', '"GET"', '\x00') : dice.of(...commands).name;
  if (name === 'QUIT') return '';
  const parts = [dice.once(3) ? name.toLowerCase() : name];
  for (let i = dice.below(5); i > 0; i--)
    parts.push(dice.once(4) ? dice.of(...options) : dice.once(3) ? `k${dice.below(50)}` : dice.of(...words));
  if (dice.once(200)) parts.push('x'.repeat(dice.of(70_000, 1_100_000)));
  return mutated(dice, parts.join(dice.of(' ', ' ', ' ', '  ', '\t')));
}

function mutated(dice: Dice, text: string): string {
  if (dice.once(2)) return text;
  const at = dice.below(text.length + 1);
  const byte = String.fromCharCode(dice.of(dice.below(256), 0, 9, 13, 32, 34, 92, 255));
  const rest = text.slice(at + dice.below(3));
  return (text.slice(0, at) + (dice.once(3) ? '' : byte) + rest).replaceAll('\n', ' ');
}

/** Every line gets one line of answer, whatever it is. */
function feedLines(make: () => Store, count: number, dice: Dice): number {
  let longest = 0;
  for (let done = 0; done < count; ) {
    const harness = new Harness(make());
    const slots = [harness.open(), harness.open(), harness.open()];
    for (let of = 0; of < linesOfAStore && done < count; of += linesAtOnce, done += linesAtOnce) {
      const slot = dice.of(...slots);
      const text = `${dice.many(linesAtOnce, linesAtOnce, () => line(dice)).join(dice.once(3) ? '\r\n' : '\n')}\n`;
      const cut = dice.below(text.length);
      longest = Math.max(
        longest,
        milliseconds(() => {
          harness.feed(slot, text.slice(0, cut));
          harness.feed(slot, text.slice(cut));
          harness.run();
        }),
      );
      const replies = harness.take(slot).split('\n').length - 1;
      if (replies !== linesAtOnce)
        throw new Error(`${linesAtOnce} lines got ${replies} answers: ${JSON.stringify(text.slice(0, 2_000))}`);
      harness.takeEvents();
      harness.records.fill(new Uint8Array(0));
    }
  }
  return longest;
}

/** Bytes in which right messages leave. */
function frames(): Uint8Array {
  const socket = new MemorySocket();
  const queue = new SendQueue(socket, plainCrc32c, () => {});
  for (const message of allMessages()) queue.push(message);
  const chunks: Uint8Array[] = [];
  do {
    queue.pump();
    chunks.push(socket.take());
  } while (chunks.at(-1)!.length > 0);
  return Buffer.concat(chunks);
}

const tokens = [
  0x00, 0x7f, 0x80, 0x90, 0x91, 0x9f, 0xa1, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc7, 0xca, 0xcb, 0xcd, 0xcf, 0xd3,
  0xd9, 0xdc, 0xdd, 0xde, 0xff,
];

/** A frame whose header is sound, with a control part by the grammar of MessagePack, or nearly. */
function grammatical(dice: Dice, writer: FrameWriter): Uint8Array {
  const control = Uint8Array.from([
    0x90 | dice.below(9),
    ...dice.many(0, 20, () => (dice.once(2) ? dice.of(...tokens) : dice.below(256))),
  ]);
  const raw = new Uint8Array(dice.once(4) ? dice.below(200) : 0);
  writer.reuse();
  writer.frame(
    dice.below(33) as FrameKind,
    dice.below(5) & (FrameFlag.first | FrameFlag.last | 4),
    dice.once(4) ? dice.below(2 ** 32) : raw.length,
    raw.length,
    control,
  );
  writer.raw(raw);
  return Uint8Array.from(writer.take());
}

/** Right messages with some bytes changed, a piece cut out, or a piece twice. */
function broken(dice: Dice, right: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(right);
  for (let i = dice.below(4); i > 0; i--) bytes[dice.below(bytes.length)] = dice.below(256);
  const [from, to] = [dice.below(bytes.length), dice.below(bytes.length)];
  if (dice.once(3)) return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  return bytes.subarray(0, from);
}

/** Whatever a link gets, it delivers, waits, or ends with an error of its own. */
function feedFrames(count: number, dice: Dice): number {
  const right = frames();
  const writer = new FrameWriter(plainCrc32c);
  let longest = 0;
  for (let i = 0; i < count; i++) {
    const bytes = dice.once(2) ? grammatical(dice, writer) : broken(dice, right);
    longest = Math.max(
      longest,
      milliseconds(() => {
        const receiver = new Receiver(greeting());
        try {
          const cut = dice.below(bytes.length + 1);
          receiver.push(bytes.subarray(0, cut)).push(bytes.subarray(cut));
        } catch (error) {
          if (!(error instanceof FrameError) && !(error instanceof ControlError)) throw error;
        }
        sniff(bytes.subarray(0, 64));
      }),
    );
  }
  return longest;
}

const kinds = [
  {
    what: 'lines to the kernel',
    run: (dice: Dice, of: number) => feedLines(() => new WasmStore(testOptions()), of / 4, dice),
  },
  {
    what: 'lines to the twin',
    run: (dice: Dice, of: number) => feedLines(() => new JsStore(testOptions()), of / 4, dice),
  },
  { what: 'frames to a link', run: (dice: Dice, of: number) => feedFrames(of / 2, dice) },
];

describe('malformed input', () => {
  it.each(kinds)('$what: no throw, no stall, no growth', { timeout }, ({ what, run }) => {
    run(new Dice(1), 10_000);
    const before = held();
    const longest = run(new Dice(firstSeed), inputs);
    const grown = held() - before;
    expect(longest, `${what}, FUZZ_SEED=${firstSeed}: longest stall, ms`).toBeLessThan(mostStallMs);
    expect(grown, `${what}, FUZZ_SEED=${firstSeed}: bytes more than before`).toBeLessThan(mostGrowthBytes);
  });
});
