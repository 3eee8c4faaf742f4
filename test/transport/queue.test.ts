import { describe, expect, it } from 'vitest';
import type { Heartbeat } from '../../src/raft/types.js';
import { FRAME_HEADER_BYTES, greeting } from '../../src/transport/frame.js';
import { SendQueue } from '../../src/transport/queue.js';
import type { PeerMessage } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';
import { append, chunk, forward, MemorySocket, offer, Receiver, texts } from './support.js';

const heartbeat = (round: number): Heartbeat => ({ type: 'heartbeat', from: 2, to: 1, term: 7, commit: 1, round });
/** As it is delivered when a part of a large message is there. */
const overtaking = (round: number): Heartbeat => ({ ...heartbeat(round), amid: true });
const windowBytes = 262_144;
const frameBytes = 65_536;

interface Link {
  readonly socket: MemorySocket;
  readonly queue: SendQueue;
  readonly receiver: Receiver;
  /** What the queue wants done at the end of this round of the event loop. */
  readonly later: (() => void)[];
}

function link(socket = new MemorySocket()): Link {
  const later: (() => void)[] = [];
  const queue = new SendQueue(socket, plainCrc32c, (pump) => later.push(pump));
  return { socket, queue, receiver: new Receiver(greeting()), later };
}

/** A system that takes all that it is given: there is never anything to drain. */
class RoomySocket extends MemorySocket {
  override write(bytes: Uint8Array): void {
    this.written.push(Buffer.from(bytes));
  }
}

describe('the queue of a link', () => {
  it('lets heartbeats overtake a message of 32 MiB that is leaving already', () => {
    const { socket, queue, receiver } = link();
    const payload = new Uint8Array(33_000_000);
    const big: PeerMessage = {
      ...forward(1, 0),
      type: 'forward',
      sequence: 1,
      record: payload,
      payloadCrc: 0,
    } as PeerMessage;
    queue.push(big);
    let round = 0;
    let bytesBefore = 0;
    for (; receiver.delivered.length < 20; ) {
      queue.push(heartbeat(++round));
      queue.pump();
      const bytes = socket.take();
      // Whatever was queued when a heartbeat came, no more than the window and a frame went before it.
      expect(bytes.length).toBeLessThanOrEqual(windowBytes + frameBytes);
      bytesBefore += bytes.length;
      receiver.push(bytes);
      expect(receiver.delivered.at(-1)).toEqual(round === 1 ? heartbeat(round) : overtaking(round));
    }
    expect(bytesBefore).toBeLessThan(20 * (windowBytes + frameBytes));
  });

  it('hands the socket no more than the window, and goes on when it has drained', () => {
    const { socket, queue, receiver } = link();
    const messages = [append(0, [900_000]), append(1, [300_000, 5])];
    for (const message of messages) queue.push(message);
    let rounds = 0;
    while (receiver.delivered.length < 2) {
      queue.pump();
      queue.pump();
      expect(socket.queued).toBeLessThanOrEqual(windowBytes + frameBytes);
      expect(++rounds).toBeLessThan(10);
      receiver.push(socket.take());
    }
    expect(texts(receiver.delivered)).toEqual(texts(messages));
  });

  it('goes on by itself, a window a round, where the system takes each at once, and lets what is urgent in between', () => {
    const { socket, queue, receiver, later } = link(new RoomySocket());
    const messages = [append(0, [900_000]), append(1, [300_000, 5])];
    for (const message of messages) queue.push(message);
    queue.pump();
    queue.push(heartbeat(1));
    queue.pump();
    let rounds = 0;
    for (; later.length > 0; rounds++) {
      expect(later.length).toBe(1);
      later.pop()!();
      expect(socket.written.at(-1)!.length).toBeLessThanOrEqual(windowBytes + frameBytes);
    }
    expect(rounds).toBeGreaterThanOrEqual(2);
    receiver.push(socket.take());
    expect(texts(receiver.delivered)).toEqual(texts([overtaking(1), ...messages]));
  });

  it('asks for no round of its own while the socket has something to drain, or when nothing waits', () => {
    const { socket, queue, later } = link();
    queue.push(append(0, [900_000]));
    queue.pump();
    expect(later).toEqual([]);
    const idle = link(new RoomySocket());
    idle.queue.push(heartbeat(1));
    idle.queue.pump();
    expect([idle.later.length, socket.queued > 0]).toEqual([0, true]);
  });

  it('sends urgent messages also when a slow socket has left only a little room', () => {
    const { socket, queue, receiver } = link();
    queue.push(append(0, [2_000_000]));
    queue.pump();
    socket.queued = windowBytes - 1;
    socket.written.length = 0;
    queue.push(heartbeat(1));
    queue.pump();
    const frames = Buffer.concat(socket.written);
    expect(frames.length).toBeLessThan(FRAME_HEADER_BYTES + 20);
    expect(receiver.push(frames).delivered).toEqual([heartbeat(1)]);
  });

  it('leaves alone what a socket has not drained, and uses its memory again once it has', () => {
    const { socket, queue, receiver } = link();
    const memory: unknown[] = [];
    for (const drains of [false, false, true, true]) {
      queue.push(heartbeat(memory.length));
      queue.pump();
      memory.push(socket.written.at(-1)!.byteOffset);
      if (drains) receiver.push(socket.take());
    }
    expect(receiver.delivered).toEqual([0, 1, 2, 3].map(heartbeat));
    expect(new Set(memory.slice(0, 3)).size).toBe(3);
    expect(memory[3]).toBe(memory[0]);
  });

  it('lets heartbeats overtake the parts of a snapshot, and a want too', () => {
    const { socket, queue, receiver } = link();
    const parts = [offer(9, 88), chunk(0, 262_144), chunk(262_144, 262_144), chunk(524_288, 5)];
    for (const part of parts) queue.push(part);
    queue.pump();
    const want: PeerMessage = { type: 'want', from: 2, to: 1, term: 7, index: 9, key: 1, offset: 0 };
    queue.push(heartbeat(1));
    queue.push(want);
    for (receiver.push(socket.take()), queue.pump(); socket.queued > 0; queue.pump()) receiver.push(socket.take());
    const kinds = receiver.delivered.map(({ type }) => type);
    expect(kinds.indexOf('heartbeat')).toBeLessThan(kinds.lastIndexOf('chunk') - 1);
    expect(kinds.indexOf('want')).toBe(kinds.indexOf('heartbeat') + 1);
    expect(texts(receiver.delivered.filter(({ type }) => type === 'chunk' || type === 'offer'))).toEqual(texts(parts));
  });

  it('keeps the order of appends and forwards, large or small', () => {
    const { socket, queue, receiver } = link();
    const sizes = [200_000, 1, 70_000, 65_000, 0, 131_000, 2];
    const messages = sizes.flatMap((size, at) => [append(at, [size]), forward(at + 1, size)]);
    for (const message of messages) queue.push(message);
    for (queue.pump(); socket.queued > 0; queue.pump()) receiver.push(socket.take());
    expect(texts(receiver.delivered)).toEqual(texts(messages));
  });

  it('makes one write of all messages of a turn', () => {
    const { socket, queue, receiver } = link();
    for (let round = 0; round < 500; round++) queue.push(heartbeat(round));
    queue.push(append(0, [100]));
    queue.pump();
    expect(socket.written.length).toBe(1);
    expect(receiver.push(socket.take()).delivered).toHaveLength(501);
    queue.pump();
    expect(socket.written.length).toBe(0);
    queue.push(append(0, [200_000]));
    queue.pump();
    expect(socket.written.length).toBe(1);
  });

  it('never writes again into bytes that a socket may still be reading', () => {
    const { socket, queue } = link();
    const copies: Uint8Array[] = [];
    for (let round = 0; round < 5000; round++) {
      queue.push(heartbeat(round));
      queue.pump();
      copies.push(Uint8Array.from(socket.written.at(-1)!));
    }
    expect(Buffer.concat(socket.written).equals(Buffer.concat(copies))).toBe(true);
  });

  it('drops what comes when 32 MiB are waiting, but never a heartbeat for that', () => {
    const { socket, queue } = link();
    socket.queued = windowBytes;
    let taken = 0;
    while (taken < 100 && queue.push(forward(taken + 1, 1_000_000))) taken++;
    expect(taken).toBe(Math.ceil(33_554_432 / 1_000_064));
    expect(queue.push(append(0, [1]))).toBe(false);
    expect(queue.push(heartbeat(1))).toBe(true);
    let rounds = 1;
    while (rounds < 100_000 && queue.push(heartbeat(rounds))) rounds++;
    expect(rounds).toBe(1_048_576 / 64);
    socket.queued = 0;
    queue.pump();
    expect(queue.push(heartbeat(1))).toBe(true);
  });
});
