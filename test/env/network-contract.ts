/** What every `Network` promises: run on the real one and on the simulated one. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Listener, Network, Socket } from '../../src/env/env.js';

export interface NetworkHarness {
  readonly network: Network;
  /** A host to listen on and to dial. */
  readonly host: string;
  /** Resolves when `condition` holds; rejects after a deadline. */
  until(condition: () => boolean): Promise<void>;
  /** Lets everything happen that is about to happen. */
  settle(): Promise<void>;
}

/** A socket that notes what it is called back with. */
class End {
  readonly socket: Socket;
  readonly chunks: Uint8Array[] = [];
  readonly events: string[] = [];
  error: Error | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  listen(): this {
    this.socket.on({
      data: (bytes) => {
        if (this.events.at(-1) !== 'data') this.events.push('data');
        this.chunks.push(bytes);
      },
      end: () => this.events.push('end'),
      drain: () => this.events.push('drain'),
      close: (error) => {
        this.events.push('close');
        this.error = error;
      },
    });
    return this;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  has(event: string): boolean {
    return this.events.includes(event);
  }
}

const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export function describeNetwork(name: string, make: () => NetworkHarness): void {
  describe(`the ${name} network`, () => {
    let harness: NetworkHarness;
    let listener: Listener;
    let accepted: End[];
    let ends: End[];

    beforeEach(async () => {
      harness = make();
      accepted = [];
      ends = [];
      const listening = harness.network.listen(harness.host, 0, (socket) => {
        const end = new End(socket);
        accepted.push(end);
        ends.push(end);
      });
      await harness.settle();
      listener = await listening;
    });

    afterEach(async () => {
      listener.close();
      for (const end of ends) end.socket.destroy();
      await harness.settle();
    });

    function dial(port = listener.port, connected = (): void => {}): End {
      const end = new End(harness.network.dial(harness.host, port, connected)).listen();
      ends.push(end);
      return end;
    }

    /** Two ends of one connection, both listening. */
    async function pair(): Promise<[End, End]> {
      const client = dial();
      await harness.until(() => accepted.length > 0);
      return [client, accepted.at(-1)!.listen()];
    }

    it('chooses a free port for 0, and refuses a taken one with a ListenError that names it', async () => {
      expect(listener.port).toBeGreaterThan(0);
      const second = harness.network.listen(harness.host, listener.port, () => {}).catch((error: unknown) => error);
      await harness.settle();
      expect(await second).toMatchObject({ code: 'taken', message: expect.stringContaining(`:${listener.port}`) });
    });

    it('calls connected once, and not from inside dial', async () => {
      let calls = 0;
      dial(listener.port, () => calls++);
      expect(calls).toBe(0);
      await harness.until(() => calls > 0 && accepted.length > 0);
      await harness.settle();
      expect([calls, accepted.length]).toEqual([1, 1]);
      expect(accepted[0]!.socket.remote).toMatch(/:\d+$/);
    });

    it('closes a dialled socket with an error when nobody listens', async () => {
      const { port } = listener;
      listener.close();
      await harness.settle();
      let connected = false;
      const client = dial(port, () => {
        connected = true;
      });
      expect(client.events).toEqual([]);
      await harness.until(() => client.has('close'));
      expect(client.error).toBeInstanceOf(Error);
      expect([connected, client.events]).toEqual([false, ['close']]);
    });

    it('delivers what was written before the connection stood', async () => {
      const client = dial();
      client.socket.write(latin1('early '));
      client.socket.writeLatin1('bird');
      await harness.until(() => accepted.length > 0);
      accepted[0]!.listen();
      await harness.until(() => accepted[0]!.bytes.length === 10);
      expect(accepted[0]!.text).toBe('early bird');
    });

    it('keeps what comes before the handlers are set', async () => {
      const client = dial();
      client.socket.writeLatin1('hello');
      await harness.until(() => accepted.length > 0);
      await harness.settle();
      const server = accepted[0]!.listen();
      expect(server.events).toEqual([]);
      await harness.until(() => server.bytes.length === 5);
    });

    it('carries every byte, in order, both ways', async () => {
      const [client, server] = await pair();
      const sent = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, at) => (at * 7 + (at >> 8)) & 0xff));
      for (let at = 0; at < sent.length; at += 100_001) client.socket.write(sent.subarray(at, at + 100_001));
      server.socket.writeLatin1(String.fromCharCode(...Array(256).keys()));
      await harness.until(() => server.bytes.length === sent.length && client.bytes.length === 256);
      expect(server.bytes.equals(sent)).toBe(true);
      expect([...client.bytes]).toEqual([...Array(256).keys()]);
    });

    it('has a copy of what was written as soon as nothing is queued', async () => {
      const [client, server] = await pair();
      const sent = Array.from({ length: 40 }, (_, at) => latin1(String(at % 10).repeat(100_000)));
      const expected = Buffer.concat(sent);
      for (const bytes of sent) {
        client.socket.write(bytes);
        await harness.until(() => client.socket.queued === 0);
        bytes.fill(0);
      }
      await harness.until(() => server.bytes.length === expected.length);
      expect(server.bytes.equals(expected)).toBe(true);
    });

    it('tells that all is drained once for each time that something was queued, also when the end was asked for', async () => {
      const [client, server] = await pair();
      for (let round = 0; round < 3; round++) {
        server.socket.pause();
        client.events.length = 0;
        const from = server.bytes.length;
        let sent = 0;
        for (; client.socket.queued === 0; sent += 1_000_000) client.socket.write(new Uint8Array(1_000_000));
        for (let more = 0; more < 5; more++, sent += 10) client.socket.writeLatin1('0123456789');
        if (round === 2) client.socket.end();
        server.socket.resume();
        await harness.until(() => server.bytes.length === from + sent && client.has('drain'));
        await harness.settle();
        expect(client.events).toEqual(['drain']);
      }
    });

    it('leaves the other direction open after a FIN, then closes both ends once and last', async () => {
      const [client, server] = await pair();
      client.socket.writeLatin1('question');
      client.socket.end();
      await harness.until(() => server.has('end'));
      expect(server.events).toEqual(['data', 'end']);
      server.socket.writeLatin1('answer');
      server.socket.end();
      await harness.until(() => client.has('close') && server.has('close'));
      await harness.settle();
      expect(client.text).toBe('answer');
      expect(client.events.filter((event) => event !== 'drain')).toEqual(['data', 'end', 'close']);
      expect(server.events.filter((event) => event !== 'drain')).toEqual(['data', 'end', 'close']);
      expect([client.error, server.error]).toEqual([undefined, undefined]);
    });

    it('tells both ends of a destroyed socket, and gives the destroyed one no more data', async () => {
      const [client, server] = await pair();
      client.socket.destroy();
      server.socket.writeLatin1('too late');
      expect(client.events).toEqual([]);
      await harness.until(() => client.has('close') && (server.has('end') || server.has('close')));
      client.socket.destroy();
      await harness.settle();
      expect(client.events).toEqual(['close']);
      expect(client.error).toBeUndefined();
    });

    it('closes an end that goes on writing to one that is gone, with an error', async () => {
      const [client, server] = await pair();
      client.socket.destroy();
      await harness.until(() => {
        server.socket.writeLatin1('anybody there?');
        return server.has('close');
      });
      expect(server.error).toBeInstanceOf(Error);
      expect(server.events.filter((event) => event === 'close')).toHaveLength(1);
    });

    it('takes writes after end or destroy in silence', async () => {
      const [client, server] = await pair();
      client.socket.end();
      client.socket.writeLatin1('after the end');
      client.socket.write(latin1('after the end'));
      client.socket.end();
      await harness.until(() => server.has('end'));
      server.socket.destroy();
      server.socket.writeLatin1('after the end');
      server.socket.end();
      await harness.until(() => client.has('close') && server.has('close'));
      expect([client.text, server.text]).toEqual(['', '']);
    });

    it('holds data back while paused, counts what queues up at the sender, and drains when it is read', async () => {
      const [client, server] = await pair();
      server.socket.pause();
      await harness.settle();
      const chunk = new Uint8Array(1_000_000).fill(7);
      let sent = 0;
      await harness.until(() => {
        client.socket.write(chunk);
        sent += chunk.length;
        return client.socket.queued > 0;
      });
      await harness.settle();
      expect(client.socket.queued).toBeGreaterThan(0);
      const held = server.bytes.length;
      await harness.settle();
      expect(server.bytes.length).toBe(held);
      client.events.length = 0;
      server.socket.resume();
      await harness.until(() => server.bytes.length === sent && client.has('drain'));
      expect(client.socket.queued).toBe(0);
      expect(client.events).toEqual(['drain']);
    });

    it('hands data to new handlers once they replace the first', async () => {
      const [client, server] = await pair();
      client.socket.writeLatin1('one');
      await harness.until(() => server.bytes.length === 3);
      const next = new End(server.socket).listen();
      client.socket.writeLatin1('two');
      client.socket.end();
      await harness.until(() => next.has('end'));
      server.socket.end();
      await harness.until(() => next.has('close'));
      expect([server.text, next.text]).toEqual(['one', 'two']);
      expect(server.events).toEqual(['data']);
    });

    it('stops listening without closing what it accepted', async () => {
      const [client, server] = await pair();
      listener.close();
      await harness.settle();
      const refused = dial();
      await harness.until(() => refused.has('close'));
      client.socket.writeLatin1('still here');
      await harness.until(() => server.bytes.length === 10);
    });
  });
}
