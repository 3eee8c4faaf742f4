import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeHello, encodeRefusal } from '../../src/transport/codec.js';
import { ControlError, encodeControl, type Field } from '../../src/transport/control.js';
import {
  FRAME_HEADER_BYTES,
  FrameError,
  FrameFlag,
  FrameKind,
  FrameOffset,
  FrameWriter,
  GREETING_BYTES,
  greeting,
  MAX_BODY_BYTES,
  PROTOCOL_VERSION,
} from '../../src/transport/frame.js';
import { SendQueue } from '../../src/transport/queue.js';
import type { PeerMessage } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';
import { drawing } from '../log/drawing.js';
import {
  allMessages,
  append,
  chunk,
  forward,
  helloOf,
  identity,
  MemorySocket,
  offer,
  Receiver,
  texts,
} from './support.js';

const whole = FrameFlag.first | FrameFlag.last;

/** The bytes in which these messages leave. */
function encode(messages: readonly PeerMessage[]): Uint8Array {
  const socket = new MemorySocket();
  const queue = new SendQueue(socket, plainCrc32c, () => {});
  for (const message of messages) expect(queue.push(message)).toBe(true);
  const chunks: Uint8Array[] = [];
  do {
    queue.pump();
    chunks.push(socket.take());
  } while (chunks.at(-1)!.length > 0);
  return Buffer.concat(chunks);
}

/** One frame, with any header one likes and a CRC that is right. */
function frame(
  kind: number,
  flags: number,
  control: Uint8Array,
  total = 0,
  raw: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const writer = new FrameWriter(plainCrc32c);
  writer.frame(kind as FrameKind, flags, total, raw.length, control);
  writer.raw(raw);
  return writer.take();
}

function seal(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const end = FRAME_HEADER_BYTES + view.getUint16(FrameOffset.control, true);
  view.setUint32(FrameOffset.crc, plainCrc32c(bytes.subarray(FrameOffset.body, end)), true);
  return bytes;
}

const receive = (...frames: Uint8Array[]) => new Receiver(greeting()).push(Buffer.concat(frames)).delivered;

describe('a frame', () => {
  it('is laid out as its drawing says', () => {
    const source = readFileSync('src/transport/frame.ts', 'utf8');
    const rows = drawing(source, 'raw bytes of the whole message');
    expect(rows.map((row) => row.offset)).toEqual([...Object.values(FrameOffset), FRAME_HEADER_BYTES]);
    for (const [at, row] of rows.slice(0, -1).entries()) expect(row.offset + row.bytes).toBe(rows[at + 1]!.offset);
    expect(rows[1]!.text).toContain(MAX_BODY_BYTES.toLocaleString('en'));
    expect(rows[5]!.text).toBe(`flags: ${FrameFlag.first} first, ${FrameFlag.last} last`);
    const opening = drawing(source, 'version of the peer protocol');
    expect(opening.map((row) => row.offset)).toEqual([0, GREETING_BYTES - 1]);
    expect([...greeting()]).toEqual([0xd1, ...Buffer.from('DST'), PROTOCOL_VERSION]);
  });

  it('is written byte for byte as drawn', () => {
    const bytes = frame(FrameKind.append, whole, Uint8Array.of(9, 8, 7), 2, Uint8Array.of(5, 6));
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    expect(view.getUint32(0, true)).toBe(plainCrc32c(bytes.subarray(4, 19)));
    expect(view.getUint32(4, true)).toBe(5);
    expect(view.getUint32(8, true)).toBe(2);
    expect(view.getUint16(12, true)).toBe(3);
    expect([...bytes.subarray(14)]).toEqual([18, 3, 9, 8, 7, 5, 6]);
  });
});

describe('messages on a link', () => {
  const messages = allMessages();
  const bytes = encode(messages);
  // Urgent ones leave before the others; within a class order is kept.
  const bulk = ({ type }: PeerMessage) => ['append', 'forward', 'offer', 'chunk'].includes(type);
  const inOrder = (all: readonly PeerMessage[]) => [...all.filter((m) => !bulk(m)), ...all.filter(bulk)];
  const order = inOrder(messages);
  const sent = texts(order);

  it('arrive as they were sent, whole', () => {
    expect(new Receiver(greeting()).push(bytes).delivered).toEqual(order);
    expect(texts(order)).toEqual(texts(new Receiver(greeting()).push(bytes).delivered));
  });

  it('arrive as they were sent, byte by byte', () => {
    const receiver = new Receiver(greeting());
    for (const byte of bytes) receiver.push(Uint8Array.of(byte));
    expect(receiver.delivered).toEqual(order);
  });

  it('arrive as they were sent, split at every position', () => {
    for (let cut = 1; cut < bytes.length; cut++) {
      const receiver = new Receiver(greeting()).push(bytes.subarray(0, cut));
      expect(texts(receiver.push(bytes.subarray(cut)).delivered)).toEqual(sent);
    }
  });

  it('arrive as they were sent in pieces, split anywhere', () => {
    const large = [append(10, [40, 200_000, 3]), forward(1, 150_000), chunk(5, 262_144), offer(9, 65_535), ...messages];
    const long = encode(large);
    const expected = texts(inOrder(large));
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 90_000 }), { maxLength: 30 }), (sizes) => {
        const receiver = new Receiver(greeting());
        let at = 0;
        for (const size of sizes) {
          receiver.push(long.subarray(at, at + size));
          at += size;
        }
        expect(texts(receiver.push(long.subarray(at)).delivered)).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });

  it('carry hello and refusal', () => {
    const founding = {
      clusterId: identity(9),
      members: [
        { id: 1, address: 'a:1', identity: identity(1) },
        { id: 65_535, address: '[::1]:65535', identity: identity(2) },
      ],
    };
    const hellos = [helloOf(1), helloOf(2, { founding, peers: [{ id: 1, address: 'ä:1' }] })];
    const frames = hellos.map((hello) => frame(FrameKind.hello, whole, encodeHello(hello)));
    expect(receive(...frames)).toEqual(hellos.map((hello) => ({ type: 'hello', hello })));
    expect(receive(frame(FrameKind.refusal, whole, encodeRefusal('no\n\x1b[31mway')))).toEqual([
      { type: 'refusal no [31mway' },
    ]);
    expect(receive(frame(FrameKind.refusal, whole, encodeRefusal('x'.repeat(9000))))[0]!.type).toHaveLength(508);
  });

  it('hand over entries that are views of one stretch of memory, and stay what they are', () => {
    const sent = [append(0, [100, 201]), append(2, [7000, 9]), forward(1, 77), forward(2, 30), append(4, [1])];
    const source = encode(sent);
    const receiver = new Receiver(greeting()).push(source);
    source.fill(0);
    const received = receiver.delivered as PeerMessage[];
    expect(texts(received)).toEqual(texts(sent));
    for (const message of received) {
      if (message.type === 'forward') expect(message.record.byteOffset % 8).toBe(0);
      if (message.type !== 'append') continue;
      const [first, second] = message.entries;
      expect(first!.bytes.byteOffset % 8).toBe(0);
      if (second === undefined) continue;
      expect(second.bytes.buffer).toBe(first!.bytes.buffer);
      expect(second.bytes.byteOffset).toBe(first!.bytes.byteOffset + first!.bytes.length);
    }
    for (let round = 0; round < 300; round++) receiver.push(encode([forward(3, round)]));
    expect(texts(received.slice(0, 5))).toEqual(texts(sent));
  });

  it('are never delivered changed when a byte on the way changes', () => {
    for (let at = 0; at < bytes.length; at++) {
      for (const flip of [1, 0x80, 0xff]) {
        const mutated = Uint8Array.from(bytes);
        mutated[at]! ^= flip;
        const receiver = new Receiver(greeting());
        expectProtocolError(() => receiver.push(mutated));
        const received = texts(receiver.delivered);
        expect(received, `byte ${at}`).toEqual(sent.slice(0, received.length));
        expect(received.length, `byte ${at}`).toBeLessThan(sent.length);
      }
    }
  });
});

/** Whatever is thrown is what a link is closed for, and nothing else is. */
function expectProtocolError(call: () => void): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof FrameError || error instanceof ControlError)) throw error;
  }
}

describe('a hostile peer', () => {
  const control = (fields: readonly Field[]) => encodeControl(fields);
  const heartbeat = control([1, 2, 3]);
  const offerOf = ({ index = 3, key = 0x527d5351, hash = '0123456789abcdef' }) =>
    control([7, index, key, 2, 5, hash, 100, 1]);
  const bad: [string, Uint8Array[], RegExp][] = [
    ['another CRC', [frame(20, whole, heartbeat).with(0, 1)], /CRC of a frame/],
    ['an unknown kind', [frame(99, whole, heartbeat)], /kind 99/],
    ['unknown flags', [frame(20, 7, heartbeat)], /flags 7/],
    ['raw bytes where there are none', [frame(20, whole, heartbeat, 1, new Uint8Array(1))], /raw bytes/],
    ['a ping with fields', [frame(3, whole, heartbeat)], /control part/],
    ['too few fields', [frame(20, whole, control([1, 2]))], /field 3 is not/],
    ['too many fields', [frame(20, whole, control([1, 2, 3, 4]))], /4 fields where 3/],
    ['no fields', [frame(20, whole, new Uint8Array(0))], /malformed control/],
    ['a value that is no array', [frame(20, whole, Uint8Array.of(1))], /not an array/],
    ['something behind the array', [frame(20, whole, Uint8Array.of(...heartbeat, 0))], /malformed control/],
    ['a negative term', [frame(20, whole, control([-1, 2, 3]))], /field 1/],
    ['a term beyond 2^53', [frame(20, whole, control([2 ** 53, 2, 3]))], /field 1/],
    ['a fraction', [frame(20, whole, control([0.5, 2, 3]))], /field 1/],
    ['not a number', [frame(20, whole, control([Number.NaN, 2, 3]))], /field 1/],
    ['text for a number', [frame(20, whole, control(['1', 2, 3]))], /field 1/],
    ['a number for a boolean', [frame(17, whole, control([1, 1, true]))], /field 2 is not a boolean/],
    ['a message longer than allowed', [frame(18, FrameFlag.first, control([7, 0, 0, 0, 1]), 67_108_865)], /more than/],
    ['a message shorter than said', [frame(18, whole, control([7, 0, 0, 0, 0]), 9, new Uint8Array(8))], /as long as/],
    ['a message longer than said', [frame(18, whole, control([7, 0, 0, 0, 0]), 8, new Uint8Array(9))], /as long as/],
    ['a piece of nothing', [frame(18, FrameFlag.last, new Uint8Array(0), 8, new Uint8Array(8))], /no message/],
    ['more records than bytes', [frame(18, whole, control([7, 0, 0, 0, 1]))], /field 5/],
    ['a forward with another CRC', [frame(24, whole, control([7, 1, 5]), 4, new Uint8Array(4))], /match its CRC/],
    ['a forward numbered 0', [frame(24, whole, control([7, 0, 0]))], /field 2/],
    ['a chunk with another CRC', [frame(29, whole, control([7, 1, 2, 0, 5]), 4, new Uint8Array(4))], /match its CRC/],
    ['a chunk of nothing', [frame(29, whole, control([7, 1, 2, 0, 0]))], /without bytes/],
    ['a chunk of more than 256 KiB', [frame(29, 1, control([7, 1, 2, 0, 5]), 262_145, new Uint8Array(9))], /raw bytes/],
    ['an offer of a snapshot of nothing', [frame(27, whole, offerOf({ index: 0 }), 1, new Uint8Array(1))], /field 2/],
    ['an offer with another key', [frame(27, whole, offerOf({ key: 1 }), 1, new Uint8Array(1))], /match its CRC/],
    [
      'an offer without a hash',
      [frame(27, whole, offerOf({ hash: 'x'.repeat(16) }), 1, new Uint8Array(1))],
      /state hash/,
    ],
    ['an offer with too much beside it', [frame(27, 1, offerOf({}), 65_536, new Uint8Array(9))], /raw bytes/],
    ['a want with raw bytes', [frame(28, whole, control([7, 1, 2, 0]), 1, new Uint8Array(1))], /raw bytes/],
    ['a want of a key beyond 2^32', [frame(28, whole, control([7, 1, 2 ** 32, 0]))], /field 3/],
    ['a done that is neither', [frame(30, whole, control([7, 1, 2, 1]))], /field 4 is not a boolean/],
    ['a hello with an empty address', [frame(1, whole, encodeHello(helloOf(1, { address: '' })))], /field 3/],
    [
      'a hello whose address cannot be dialled',
      [frame(1, whole, encodeHello(helloOf(1, { address: 'a:b' })))],
      /field 3/,
    ],
    ['a hello with a line break', [frame(1, whole, encodeHello(helloOf(1, { address: 'a\nb' })))], /field 3/],
    ['a hello of node 0', [frame(1, whole, encodeHello(helloOf(0)))], /field 2/],
    [
      'a hello with a short identity',
      [frame(1, whole, encodeHello(helloOf(1, { identity: new Uint8Array(15) })))],
      /field 4/,
    ],
  ];

  it.each(bad)('that sends %s is told apart', (_, frames, message) => {
    expect(() => receive(...frames)).toThrow(message);
    expect(() => {
      const receiver = new Receiver(greeting());
      for (const byte of Buffer.concat(frames)) receiver.push(Uint8Array.of(byte));
    }).toThrow(message);
  });

  it('cannot have two messages in pieces, nor change one midway', () => {
    const fields = control([7, 0, 0, 0, 1]);
    const first = frame(18, FrameFlag.first, fields, 1000, new Uint8Array(10));
    expect(() => receive(first, first)).toThrow(/two messages in pieces/);
    expect(() => receive(first, frame(24, 0, new Uint8Array(0), 1000, new Uint8Array(10)))).toThrow(/no message/);
    expect(() => receive(first, frame(18, 0, new Uint8Array(0), 1001, new Uint8Array(10)))).toThrow(/no message/);
    expect(() => receive(first, frame(18, 0, fields, 1000, new Uint8Array(10)))).toThrow(/no message/);
    expect(() => receive(first, frame(18, 0, new Uint8Array(0), 1000))).toThrow(/empty piece/);
  });

  it('cannot make a frame of more than 64 KiB', () => {
    const bytes = seal(frame(18, whole, control([7, 0, 0, 0, 1]), 70_000, new Uint8Array(70_000)));
    expect(() => receive(bytes)).toThrow(/frame of 700\d\d bytes/);
  });

  it('cannot send records that do not follow each other, or are damaged', () => {
    const raw = (prevIndex: number, payloads: number[]) => {
      const message = append(prevIndex, payloads);
      return Buffer.concat(message.type === 'append' ? message.entries.map((entry) => entry.bytes) : []);
    };
    const send = (fields: readonly Field[], records: Uint8Array) =>
      receive(frame(18, whole, control(fields), records.length, records));
    const records = raw(4, [10, 20]);
    expect(send([7, 4, 1, 0, 2], records)).toEqual([{ ...append(4, [10, 20]), commit: 0 }]);
    expect(() => send([7, 5, 1, 0, 2], records)).toThrow(/index 5 stands where 6 belongs/);
    expect(() => send([7, 4, 6, 0, 2], records)).toThrow(/term 5/);
    expect(() => send([4, 4, 1, 0, 2], records)).toThrow(/term 5/);
    expect(() => send([7, 4, 1, 0, 1], records)).toThrow(/announced/);
    expect(() => send([7, 4, 1, 0, 3], records)).toThrow(/announced/);
    expect(() => send([7, 4, 1, 0, 2], records.subarray(0, -1))).toThrow(/beyond its message/);
    expect(() => send([7, 4, 1, 0, 2], Buffer.concat([records, new Uint8Array(9)]))).toThrow(/announced/);
    for (const at of [0, 5, 9, 50, 70, records.length - 1]) {
      expect(() => send([7, 4, 1, 0, 2], records.with(at, records[at]! ^ 4))).toThrow(/damaged|beyond|announced/);
    }
  });

  it('is known by its first bytes', () => {
    const open = (bytes: Uint8Array): string => {
      try {
        new Receiver(bytes);
      } catch (error) {
        return error instanceof FrameError ? error.code : String(error);
      }
      return 'let in';
    };
    expect(open(greeting())).toBe('let in');
    expect(open(Buffer.from('ERR protocol'))).toBe('stranger');
    expect(open(greeting().with(3, 0))).toBe('stranger');
    expect(open(greeting().with(4, 2))).toBe('version');
  });

  it('cannot make a control part do more than be refused, whatever bytes it is made of', () => {
    const claims: number[][] = [
      [0xdd, 0xff, 0xff, 0xff, 0xff],
      [0xdc, 0xff, 0xff],
      [0xdf, 0x00, 0x10, 0x00, 0x00],
      [0xdb, 0xff, 0xff, 0xff, 0xff],
      [0x93, 1, 2, 0xc7, 8, 0x78, 1],
      [0x93, 1, 2, 0xd4, 0x72, 0x40],
      [0x93, 1, 2, 0x80],
      Array(60_000).fill(0x91),
      [0x93, 1, 2, 0xc4],
      [0x93, 1, 2, 0xd9, 200, 65],
      [0x93, 1, 2, 0xcb, 0],
    ];
    for (const claim of claims) {
      expect(() => receive(frame(20, whole, Uint8Array.from(claim)))).toThrow(/malformed control part/);
    }
    const token = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0x90, 0x93, 0xc0, 0xc3, 0xcb, 0xcf, 0xdc));
    const kind = fc.constantFrom(...Object.values(FrameKind));
    fc.assert(
      fc.property(fc.array(token, { maxLength: 40 }), kind, (bytes, k) => {
        expectProtocolError(() => receive(frame(k, whole, Uint8Array.from(bytes))));
      }),
      { numRuns: 3000 },
    );
  });

  it('cannot do harm with well-formed fields of the wrong kind or number', () => {
    const scalar = fc.oneof(
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(undefined),
      fc.string({ maxLength: 20 }),
      fc.uint8Array({ maxLength: 20 }),
    );
    const field: fc.Arbitrary<Field> = fc.oneof(
      scalar,
      fc.array(fc.oneof(scalar, fc.array(scalar, { maxLength: 3 })), { maxLength: 4 }),
    );
    const kind = fc.constantFrom(...Object.values(FrameKind));
    fc.assert(
      fc.property(fc.array(field, { maxLength: 9 }), kind, (fields, k) => {
        expectProtocolError(() => receive(frame(k, whole, control(fields))));
      }),
      { numRuns: 3000 },
    );
  });

  it('cannot make a reader hold more than it was sent, but for the message that it announced', () => {
    const receiver = new Receiver(greeting(), 1000);
    const fields = control([7, 0, 0, 0, 1]);
    expect(() => receiver.push(frame(18, FrameFlag.first, fields, 1001, new Uint8Array(1)))).toThrow(/more than 1000/);
  });
});
