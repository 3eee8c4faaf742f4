import { describe, expect, it } from 'vitest';
import type { Socket } from '../../src/env/env.js';
import { calm } from '../../src/sim/network.js';
import { type SimHost, World } from '../../src/sim/world.js';
import { describeNetwork } from '../env/network-contract.js';

describeNetwork('simulated', () => {
  const world = new World(1);
  const host = world.addHost('a');
  world.addHost('b');
  const network = world.network.on(host);
  return {
    network,
    host: 'a',
    until: async (condition) => {
      if (!(await world.play(condition, 60_000))) throw new Error(`not within a minute: ${condition}`);
    },
    settle: async () => void (await world.play(() => false, 5)),
  };
});

/** A server on b that keeps what it gets, and a client on a. */
class Talk {
  readonly world: World;
  readonly a: SimHost;
  readonly b: SimHost;
  server: Socket | undefined;
  received = '';
  serverEvents: string[] = [];
  clientEvents: string[] = [];
  answers = '';
  client: Socket;

  constructor(seed: number) {
    this.world = new World(seed);
    this.a = this.world.addHost('a');
    this.b = this.world.addHost('b');
    this.listen();
    this.client = this.dial();
  }

  listen(): void {
    void this.world.network.on(this.b).listen('b', 80, (socket) => {
      this.server = socket;
      socket.on({
        data: (bytes) => {
          this.received += Buffer.from(bytes).toString('latin1');
        },
        end: () => this.serverEvents.push('end'),
        drain: () => this.serverEvents.push('drain'),
        close: (error) => this.serverEvents.push(`close ${error?.message ?? ''}`),
      });
    });
  }

  dial(): Socket {
    const socket = this.world.network.on(this.a).dial('b', 80, () => this.clientEvents.push('connected'));
    socket.on({
      data: (bytes) => {
        this.answers += Buffer.from(bytes).toString('latin1');
      },
      end: () => this.clientEvents.push('end'),
      drain: () => {},
      close: (error) => this.clientEvents.push(`close ${error?.message ?? ''}`),
    });
    return socket;
  }

  until(condition: () => boolean): void {
    expect(this.world.runUntil(condition, 60_000)).toBe(true);
  }

  connected(): this {
    this.until(() => this.server !== undefined && this.clientEvents.includes('connected'));
    return this;
  }
}

describe('faults of the simulated network', () => {
  it('holds packets back while the way is cut, and delivers all of them in order when it is healed', () => {
    const talk = new Talk(2).connected();
    talk.world.network.partition([talk.a], [talk.b]);
    talk.client.writeLatin1('one ');
    talk.world.run(5000);
    talk.client.writeLatin1('two ');
    talk.world.run(0.05);
    talk.world.network.heal();
    talk.client.writeLatin1('three');
    expect(talk.received).toBe('');
    talk.until(() => talk.received === 'one two three');
  });

  it('cuts one direction only', () => {
    const talk = new Talk(3).connected();
    talk.world.network.cut(talk.b, talk.a);
    talk.client.writeLatin1('heard');
    talk.until(() => talk.received === 'heard');
    talk.server!.writeLatin1('not heard');
    talk.world.run(5000);
    expect(talk.answers).toBe('');
  });

  it('gives a dial through a cut way up after 30 s, and lets one through that is healed before', () => {
    const talk = new Talk(4);
    talk.world.network.cut(talk.a, talk.b);
    talk.world.run(29_000);
    expect(talk.clientEvents).toEqual([]);
    talk.world.run(2000);
    expect(talk.clientEvents).toEqual([expect.stringContaining('ETIMEDOUT')]);
    talk.dial();
    talk.world.network.heal();
    talk.until(() => talk.clientEvents.includes('connected'));
  });

  it('accepts for a paused process and takes bytes for it as far as the window goes', () => {
    const talk = new Talk(5);
    talk.b.pause();
    talk.until(() => talk.clientEvents.includes('connected'));
    talk.client.write(new Uint8Array(calm.windowBytes + 1).fill(65));
    talk.world.run(1000);
    expect([talk.server, talk.received, talk.client.queued]).toEqual([undefined, '', 1]);
    talk.b.resume();
    talk.until(() => talk.received.length === calm.windowBytes + 1);
  });

  it('closes the connections of a killed process, and refuses new ones', () => {
    const talk = new Talk(6).connected();
    talk.b.kill();
    talk.until(() => talk.clientEvents.includes('end'));
    talk.client.writeLatin1('anybody there?');
    talk.until(() => talk.clientEvents.some((event) => event.includes('ECONNRESET')));
    talk.dial();
    talk.until(() => talk.clientEvents.some((event) => event.includes('ECONNREFUSED')));
    expect(talk.serverEvents).toEqual([]);
  });

  it('tells nobody of a power loss, and resets what the restarted machine does not know', () => {
    const talk = new Talk(7).connected();
    talk.b.powerOff();
    talk.client.writeLatin1('anybody there?');
    talk.world.run(60_000);
    expect(talk.clientEvents).toEqual(['connected']);
    talk.b.restart();
    talk.until(() => talk.clientEvents.some((event) => event.includes('ECONNRESET')));
    talk.listen();
    talk.server = undefined;
    talk.dial();
    talk.connected();
  });

  it('breaks all connections between two hosts', () => {
    const talk = new Talk(8).connected();
    talk.world.network.breakConnections(talk.a, talk.b);
    talk.until(() => talk.clientEvents.length === 2 && talk.serverEvents.length === 1);
    expect([talk.clientEvents[1], talk.serverEvents[0]]).toEqual(Array(2).fill(expect.stringContaining('ECONNRESET')));
  });

  it('breaks connections at random if told to, and never delivers a wrong or missing byte before', () => {
    let received = 0;
    for (let seed = 0; seed < 20; seed++) {
      const talk = new Talk(seed).connected();
      talk.world.network.conditions = { ...calm, resetChance: 0.02, splitChance: 0.5, joinChance: 0.5 };
      let sent = '';
      talk.until(() => {
        const text = `${talk.world.random.word()} `;
        talk.client.writeLatin1(text);
        sent += text;
        return talk.serverEvents.length > 0;
      });
      expect(sent.startsWith(talk.received)).toBe(true);
      received += talk.received.length;
    }
    expect(received).toBeGreaterThan(0);
  });

  it('splits chunks and joins them', () => {
    const talk = new Talk(10).connected();
    talk.world.network.conditions = { ...calm, splitChance: 0.3, joinChance: 0.3 };
    const sizes: number[] = [];
    talk.server!.on({ data: (bytes) => sizes.push(bytes.length), end: () => {}, drain: () => {}, close: () => {} });
    for (let write = 0; write < 200; write++) {
      talk.client.write(new Uint8Array(100));
      talk.world.run(0.3);
    }
    talk.until(() => sizes.reduce((sum, size) => sum + size, 0) === 20_000);
    expect(Math.min(...sizes)).toBeLessThan(100);
    expect(Math.max(...sizes)).toBeGreaterThan(100);
  });
});
