import { beforeEach, describe, expect, it } from 'vitest';
import type { Disk, Env, Socket } from '../../src/env/env.js';
import { calm } from '../../src/sim/network.js';
import { type SimHost, World } from '../../src/sim/world.js';
import { encodeHello } from '../../src/transport/codec.js';
import { FrameFlag, FrameKind, FrameWriter, greeting } from '../../src/transport/frame.js';
import { createTransport, parseAddress } from '../../src/transport/transport.js';
import type { Hello, PeerMessage, Transport, TransportHandlers } from '../../src/transport/types.js';
import { plainCrc32c } from '../log/crc32c.js';
import { append, forward, helloOf, texts } from './support.js';

/** A node that is nothing but a transport behind a port. */
class Peer {
  readonly id: number;
  readonly host: SimHost;
  transport!: Transport;
  env!: Env;
  messages: PeerMessage[] = [];
  links: string[] = [];
  refusals: string[] = [];
  warnings: string[] = [];
  debug: string[] = [];
  judge: (hello: Hello) => string | undefined = () => undefined;
  onMessage: (message: PeerMessage) => void = () => {};
  fields: Partial<Hello> = {};

  constructor(world: World, id: number) {
    this.id = id;
    this.host = world.addHost(`node${id}`);
    this.start();
  }

  start(): void {
    this.env = this.host.env({} as Disk);
    const handlers: TransportHandlers = {
      hello: () => helloOf(this.id, this.fields),
      judge: (hello) => this.judge(hello),
      refused: (peer, address, reason) => this.refusals.push(`${peer} ${address} ${reason}`),
      link: (peer, up) => this.links.push(`${peer} ${up ? 'up' : 'down'}`),
      message: (message) => {
        this.messages.push(message);
        this.onMessage(message);
      },
      log: (level, text) => (level === 'warn' ? this.warnings : this.debug).push(text),
    };
    this.transport = createTransport({ id: this.id, env: this.env, crc32c: plainCrc32c, handlers });
    void this.env.network.listen('', 8080, (socket) => this.#accept(socket));
  }

  /** As a node does it: the first chunk decides, and goes along. */
  #accept(socket: Socket): void {
    const data = (bytes: Uint8Array): void => this.transport.accept(socket, bytes);
    socket.on({ data, end: () => socket.destroy(), drain: () => {}, close: () => {} });
  }

  connect(...peers: Peer[]): void {
    this.transport.connect(peers.map(({ id }) => ({ id, address: `node${id}:8080` })));
  }

  send(...messages: PeerMessage[]): void {
    for (const message of messages) this.transport.send(message);
    this.transport.flush();
  }
}

const heartbeat = (from: number, to: number, round: number): PeerMessage => ({
  type: 'heartbeat',
  from,
  to,
  term: 1,
  commit: 0,
  round,
});

let world: World;
let one: Peer;
let two: Peer;

beforeEach(() => {
  world = new World('links');
  one = new Peer(world, 1);
  two = new Peer(world, 2);
});

function until(condition: () => boolean, deadlineMs = 10_000): void {
  if (!world.runUntil(condition, deadlineMs)) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
}

/** Both directions are up. */
function connected(): void {
  one.connect(two);
  two.connect(one);
  until(() => one.transport.isUp(2) && two.transport.isUp(1));
}

describe('a link', () => {
  it('comes up in both directions when both dial at the same moment, and carries messages', () => {
    connected();
    expect([one.links, two.links]).toEqual([['2 up'], ['1 up']]);
    one.send(heartbeat(1, 2, 5), { type: 'read', from: 1, to: 2, term: 3, id: 9 });
    two.send(forward(1, 100));
    until(() => two.messages.length === 2 && one.messages.length === 1);
    expect(two.messages).toEqual([heartbeat(1, 2, 5), { type: 'read', from: 1, to: 2, term: 3, id: 9 }]);
    expect(one.messages).toEqual([forward(1, 100)]);
  });

  it('sends nothing before flush (or a ping that goes anyway), and drops what is sent while it is down or to nobody', () => {
    one.send(heartbeat(1, 2, 1));
    connected();
    one.transport.send(heartbeat(1, 2, 2));
    world.run(400);
    expect(two.messages).toEqual([]);
    one.transport.send(heartbeat(1, 3, 3));
    one.transport.flush();
    until(() => two.messages.length > 0);
    expect(two.messages).toEqual([heartbeat(1, 2, 2)]);
  });

  it('are judged anew when asked to: who is refused is told why, and its links are closed both ways', () => {
    const three = new Peer(world, 3);
    connected();
    one.connect(two, three);
    three.connect(one);
    until(() => one.transport.isUp(3) && three.transport.isUp(1));
    one.transport.review();
    one.send(heartbeat(1, 2, 1), heartbeat(1, 3, 1));
    until(() => two.messages.length === 1 && three.messages.length === 1);
    one.judge = (hello) => (hello.id === 2 ? 'it was removed' : undefined);
    one.transport.review();
    expect(one.transport.isUp(2)).toBe(false);
    expect(one.links).toEqual(['2 up', '3 up', '2 down']);
    // What it sent before it knew counts for nothing any more.
    two.send(heartbeat(2, 1, 7));
    until(() => !two.transport.isUp(1));
    expect(two.refusals).toContain('1 node1:8080 it was removed');
    world.run(1_000);
    expect(one.messages).toEqual([]);
    expect(one.transport.isUp(2)).toBe(false);
    expect(one.transport.isUp(3)).toBe(true);
    one.judge = () => undefined;
    until(() => one.transport.isUp(2) && two.transport.isUp(1));
  });

  it('never calls a handler from inside connect, send, flush or close', () => {
    connected();
    one.links.length = 0;
    one.send(heartbeat(1, 2, 1));
    one.transport.connect([]);
    one.transport.close();
    two.transport.close();
    expect([one.links, one.messages, two.messages]).toEqual([[], [], []]);
  });

  it('is not up before the peer has answered: a stopped process takes connections', () => {
    two.host.pause();
    one.connect(two);
    world.run(10_000);
    expect([one.links, one.transport.isUp(2)]).toEqual([[], false]);
    expect(one.debug.some((text) => text.includes('no answer in time'))).toBe(true);
    two.host.resume();
    until(() => one.transport.isUp(2), 3000);
  });

  it('is not up on the side that has not been let in', () => {
    two.judge = () => 'no';
    one.connect(two);
    world.run(5000);
    expect([one.links, two.links]).toEqual([[], []]);
  });

  it('carries large messages on a network that splits and joins, while heartbeats go between', () => {
    world.network.conditions = { ...calm, splitChance: 0.5, joinChance: 0.5 };
    connected();
    const large = [append(0, [3_000_000, 5]), append(2, [900_000])];
    two.send(...large);
    for (let round = 1; round <= 5; round++) two.send(heartbeat(2, 1, round));
    until(() => one.messages.length === 7);
    expect(one.messages.slice(0, 5).map((message) => message.type)).toEqual(Array(5).fill('heartbeat'));
    expect(texts(one.messages.slice(5))).toEqual(texts(large));
  });
});

describe('a lost link', () => {
  it('is told, and dialled again after 50 ms', () => {
    connected();
    world.network.breakConnections(one.host, two.host);
    until(() => one.links.length === 2 && two.links.length === 2);
    expect([one.links[1], two.links[1]]).toEqual(['2 down', '1 down']);
    const lostAt = world.now;
    until(() => one.links.length === 3 && two.links.length === 3);
    expect(world.now - lostAt).toBeLessThan(60);
    one.send(heartbeat(1, 2, 1));
    until(() => two.messages.length === 1);
  });

  it('is dialled at most 300 ms apart, and comes up when the peer starts late', () => {
    two.host.kill();
    one.connect(two);
    const dials: number[] = [];
    world.observe = (time, host, what) => {
      if (host === 'node1' && what === 'close') dials.push(time);
    };
    world.run(10_000);
    const gaps = dials.slice(1).map((time, at) => time - dials[at]!);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(305);
    expect(Math.min(...gaps.slice(4))).toBeGreaterThan(140);
    expect(new Set(gaps.slice(4).map(Math.round)).size).toBeGreaterThan(3);
    two.host.restart();
    two.start();
    until(() => one.transport.isUp(2), 310);
  });

  it('comes up again when the peer has restarted, however it went', () => {
    connected();
    for (const end of ['kill', 'powerOff'] as const) {
      two.host[end]();
      world.run(100);
      two.host.restart();
      two.start();
      two.connect(one);
      until(() => two.transport.isUp(1) && one.links.at(-1) === '2 down', 3000);
      until(() => one.transport.isUp(2));
      one.send(heartbeat(1, 2, 1));
      until(() => two.messages.at(-1)?.type === 'heartbeat');
      two.messages.length = 0;
    }
  });

  it('is found dead within three seconds when the peer lost its power, though nothing tells', () => {
    connected();
    two.host.powerOff();
    const from = world.now;
    until(() => one.links.at(-1) === '2 down');
    expect(world.now - from).toBeGreaterThan(1500);
    expect(world.now - from).toBeLessThan(3000);
  });

  it('is found dead when only one direction is cut, also on the side that just listens', () => {
    one.connect(two);
    until(() => one.transport.isUp(2));
    world.network.cut(two.host, one.host);
    until(() => one.links.at(-1) === '2 down', 3000);
    world.network.heal();
    until(() => one.transport.isUp(2));
    world.network.cut(one.host, two.host);
    two.debug.length = 0;
    until(() => two.debug.some((text) => text.includes('nothing was heard')), 3000);
  });

  it('stays up while it is idle, and while this process is stopped for a while', () => {
    connected();
    world.run(60_000);
    one.host.pause();
    world.run(1500);
    one.host.resume();
    world.run(60_000);
    expect([one.links, two.links]).toEqual([['2 up'], ['1 up']]);
  });

  it('stays up while a peer takes a big message slowly but steadily', () => {
    // 50 kB a second: an answer to a ping waits for five seconds behind what was handed to the socket before it.
    world.network.conditions = { ...calm, windowBytes: 2000, delayMs: [20, 20] };
    connected();
    two.send(append(0, [800_000]));
    until(() => one.messages.length === 1, 60_000);
    expect(world.now).toBeGreaterThan(15_000);
    expect([one.links, two.links]).toEqual([['2 up'], ['1 up']]);
    two.send(append(0, [800_000]));
    world.run(1000);
    one.host.pause();
    until(() => two.links.at(-1) === '1 down', 3000);
  });

  it('gives what was queued up for lost', () => {
    connected();
    two.send(append(0, [5_000_000]));
    world.run(2);
    world.network.breakConnections(one.host, two.host);
    until(() => two.links.length === 3);
    two.send(heartbeat(2, 1, 1));
    until(() => one.messages.length > 0);
    world.run(1000);
    expect(one.messages).toEqual([heartbeat(2, 1, 1)]);
  });
});

describe('a refused peer', () => {
  it('is told why, and the accepting side logs one line, however often it comes', () => {
    two.judge = () => 'node 1 belongs to another cluster';
    one.connect(two);
    world.run(5000);
    expect(two.warnings).toEqual(['refused node 1 at node1:8080: node 1 belongs to another cluster']);
    expect(two.debug.filter((text) => text.startsWith('refused')).length).toBeGreaterThan(10);
    expect(one.refusals).toEqual(['2 node2:8080 node 1 belongs to another cluster']);
    expect(one.warnings).toEqual([]);
  });

  it('is told and logged anew when the reason changes, and let in when there is none any more', () => {
    two.judge = () => 'first';
    one.connect(two);
    world.run(1000);
    two.judge = () => 'second';
    world.run(1000);
    expect(one.refusals.map((text) => text.split(' ').at(-1))).toEqual(['first', 'second']);
    expect(two.warnings).toHaveLength(2);
    two.judge = () => undefined;
    until(() => one.transport.isUp(2));
    world.run(1000);
    two.judge = () => 'second';
    world.network.breakConnections(one.host, two.host);
    world.run(1000);
    expect([one.refusals.length, two.warnings.length]).toEqual([3, 3]);
  });

  it('is told why by the side that dialled, too', () => {
    one.judge = () => 'your folder is not the one I know';
    one.connect(two);
    world.run(2000);
    expect(one.warnings).toEqual(['refused node 2 at node2:8080: your folder is not the one I know']);
    expect(two.refusals[0]).toBe('1 node1:8080 your folder is not the one I know');
    expect([one.links, two.links]).toEqual([[], []]);
  });

  it('is one that says it speaks another version', () => {
    one.fields = { protocol: 2 };
    one.connect(two);
    world.run(1000);
    expect(one.refusals).toEqual([expect.stringContaining('version 2 of the peer protocol')]);
    expect(two.warnings).toHaveLength(1);
  });

  it('is one that has the id of the node it dials, or another id than it was dialled by', () => {
    const twin = new Peer(world, 3);
    twin.fields = { id: 2 };
    twin.connect(two);
    one.transport.connect([{ id: 5, address: 'node2:8080' }]);
    world.run(1000);
    expect(twin.refusals).toEqual([expect.stringContaining('ids must differ')]);
    expect(one.warnings).toEqual([expect.stringContaining('it is node 2, not node 5')]);
    expect([one.links, twin.links, two.links]).toEqual([[], [], []]);
  });
});

describe('a second link of the same peer', () => {
  it('replaces the first', () => {
    connected();
    const first = one.transport;
    // A new transport of the same node, while the old one still lives: what a restart looks like from the other side.
    one.start = () => {};
    const again = createTransport({
      id: 1,
      env: one.env,
      crc32c: plainCrc32c,
      handlers: {
        hello: () => helloOf(1),
        judge: () => undefined,
        refused: () => {},
        link: () => {},
        message: () => {},
        log: () => {},
      },
    });
    again.connect([{ id: 2, address: 'node2:8080' }]);
    until(() => again.isUp(2) && !first.isUp(2));
    expect(two.debug.some((text) => text.includes('has dialled again'))).toBe(true);
    again.close();
    until(() => first.isUp(2));
  });
});

/** A client of node 2 that speaks the peer protocol by hand. */
class Hand {
  readonly socket: Socket;
  received = '';
  closed = false;

  constructor() {
    this.socket = one.env.network.dial('node2', 8080, () => {});
    this.socket.on({
      data: (bytes) => {
        this.received += Buffer.from(bytes).toString('latin1');
      },
      end: () => this.socket.destroy(),
      drain: () => {},
      close: () => {
        this.closed = true;
      },
    });
  }

  frame(kind: number, control: Uint8Array, total = 0): this {
    const writer = new FrameWriter(plainCrc32c);
    writer.frame(kind as FrameKind, total > 0 ? FrameFlag.first : FrameFlag.first | FrameFlag.last, total, 0, control);
    this.socket.write(writer.take());
    return this;
  }

  hello(): this {
    this.socket.write(greeting());
    return this.frame(FrameKind.hello, encodeHello(helloOf(1)));
  }
}

describe('nonsense on a link', () => {
  it('closes that link with one line, and no other', () => {
    connected();
    const hand = new Hand().hello();
    until(() => hand.received.length > 20);
    hand.frame(FrameKind.heartbeat, Uint8Array.of(1, 2, 3));
    until(() => hand.closed);
    expect(two.warnings).toEqual(['closed the link from node 1 at node1:8080: malformed control part']);
    expect(two.links).toEqual(['1 up']);
    expect(two.messages).toEqual([]);
  });

  it('closes that link with one line when a message is larger than any may be', () => {
    connected();
    const hand = new Hand().hello();
    until(() => hand.received.length > 20);
    hand.frame(FrameKind.append, Uint8Array.of(0x95, 1, 0, 0, 0, 1), 67_108_865);
    until(() => hand.closed);
    expect(two.warnings).toEqual([
      'closed the link from node 1 at node1:8080: message of 67108865 bytes, more than 67108864',
    ]);
    expect(two.links).toEqual(['1 up']);
  });

  it('closes a connection that sends a message before its hello, without memory for it', () => {
    const hand = new Hand();
    hand.socket.write(greeting());
    hand.frame(FrameKind.append, Uint8Array.of(0x95, 1, 0, 0, 0, 1), 60_000_000);
    until(() => hand.closed, 100);
    expect(two.warnings).toEqual(['closed the link from node1: frame of kind 18']);
  });

  it('closes a connection that sends no hello in time', () => {
    const hand = new Hand();
    hand.socket.write(greeting());
    world.run(1900);
    expect(hand.closed).toBe(false);
    until(() => hand.closed, 200);
    expect(two.debug.some((text) => text.includes('no hello in time'))).toBe(true);
  });

  it('answers another version in the words of this one, then closes', () => {
    const hand = new Hand();
    hand.socket.write(greeting().with(4, 9));
    until(() => hand.closed, 3000);
    expect(hand.received.slice(0, 5)).toBe(Buffer.from(greeting()).toString('latin1'));
    expect(hand.received).toContain('this node speaks version 1 of the peer protocol');
    expect(two.warnings).toEqual([expect.stringContaining('speaks version 9')]);
  });

  it('does not wait for ever for one that does not close when it is refused', () => {
    two.judge = () => 'no';
    const hand = new Hand();
    hand.socket.on({ data: () => {}, end: () => {}, drain: () => {}, close: () => (hand.closed = true) });
    hand.hello();
    until(() => two.debug.some((text) => text.includes('is down: refused')), 2500);
  });

  it('tells a dialler that it has reached something else', () => {
    const stranger = world.addHost('stranger');
    void stranger.env({} as Disk).network.listen('', 1, (socket) => {
      socket.on({ data: () => socket.writeLatin1('ERR what?\n'), end: () => {}, drain: () => {}, close: () => {} });
    });
    one.transport.connect([{ id: 2, address: 'stranger:1' }]);
    world.run(2000);
    expect(one.warnings).toEqual([expect.stringContaining('does not speak the peer protocol')]);
  });
});

describe('a failing handler', () => {
  it('closes the link on whose behalf it was called, and goes no further', () => {
    connected();
    two.onMessage = () => {
      throw new Error('as planned');
    };
    one.send(heartbeat(1, 2, 1), heartbeat(1, 2, 2));
    until(() => one.links.includes('2 down'));
    expect(two.messages).toHaveLength(1);
    expect(two.warnings).toEqual([expect.stringMatching(/a handler failed: .*as planned/)]);
    two.onMessage = () => {};
    until(() => one.transport.isUp(2));
  });

  it('of judge or hello keeps the link down', () => {
    two.judge = () => {
      throw new Error('cannot judge');
    };
    one.connect(two);
    world.run(1000);
    Object.defineProperty(one, 'fields', {
      get: () => {
        throw new Error('no hello');
      },
    });
    world.run(1000);
    expect(two.warnings[0]).toContain('cannot judge');
    expect(one.warnings[0]).toContain('no hello');
    expect(one.links).toEqual([]);
  });

  it('may close the transport from inside any of them', () => {
    connected();
    two.onMessage = () => two.transport.close();
    one.send(heartbeat(1, 2, 1), heartbeat(1, 2, 2));
    until(() => one.links.includes('2 down'));
    expect([two.messages.length, two.warnings]).toEqual([1, []]);
    const three = new Peer(world, 3);
    three.judge = () => {
      three.transport.close();
      return undefined;
    };
    three.connect(one);
    world.run(1000);
    expect([three.links, three.warnings]).toEqual([[], []]);
  });
});

describe('a transport', () => {
  it('leaves nothing behind when it is closed: no link, no timer', () => {
    connected();
    one.transport.close();
    two.transport.close();
    world.run(3000);
    let events = 0;
    world.observe = (_, host) => {
      if (host !== '') events++;
    };
    world.run(60_000);
    expect(events).toBe(0);
  });

  it('drops peers that are not listed any more, and dials those at a new address', () => {
    connected();
    const three = new Peer(world, 3);
    one.connect(two, three);
    until(() => one.transport.isUp(3));
    expect(one.links).toEqual(['2 up', '3 up']);
    one.connect(three);
    expect([one.transport.isUp(2), one.transport.isUp(3)]).toEqual([false, true]);
    one.transport.connect([{ id: 3, address: 'node2:8080' }]);
    expect(one.transport.isUp(3)).toBe(false);
    until(() => one.warnings.length > 0);
    expect(one.warnings).toEqual([expect.stringContaining('it is node 2, not node 3')]);
  });

  it('takes addresses apart, and says what an address must be', () => {
    expect(parseAddress('127.0.0.1:8080')).toEqual({ host: '127.0.0.1', port: 8080 });
    expect(parseAddress('[::1]:1')).toEqual({ host: '::1', port: 1 });
    for (const bad of ['', 'a', ':1', 'a:', 'a:0', 'a:65536', 'a:1x', '[]:1']) {
      expect(() => parseAddress(bad)).toThrow(/must be host:port/);
    }
  });

  it('behaves the same for the same seed', () => {
    const run = (seed: number): string => {
      world = new World(seed);
      one = new Peer(world, 1);
      two = new Peer(world, 2);
      connected();
      two.send(append(0, [100_000]));
      world.run(3000);
      world.network.breakConnections(one.host, two.host);
      world.run(3000);
      return world.traceHash;
    };
    expect(run(1)).toBe(run(1));
    expect(run(1)).not.toBe(run(2));
  });
});
