import { describe, expect, it } from 'vitest';
import type { Disk, Env } from '../../src/env/env.js';
import { SeededRandom } from '../../src/sim/random.js';
import { type SimHost, World } from '../../src/sim/world.js';

const noDisk = {} as Disk;

function hostOf(world: World, name = 'a'): { host: SimHost; env: Env } {
  const host = world.addHost(name);
  return { host, env: host.env(noDisk) };
}

describe('the simulated world', () => {
  it('calls events by time, and those of one time in the order in which they were scheduled', () => {
    const world = new World(1);
    const { env } = hostOf(world);
    const calls: string[] = [];
    env.timers.after(20, () => calls.push(`b ${world.now}`));
    env.timers.after(10, () => {
      calls.push(`a ${world.now}`);
      env.timers.defer(() => calls.push(`deferred ${world.now}`));
    });
    env.timers.after(10, () => calls.push(`a2 ${world.now}`));
    env.timers.after(20, () => calls.push(`b2 ${world.now}`));
    expect(calls).toEqual([]);
    world.run(15);
    expect([calls, world.now]).toEqual([['a 10', 'a2 10', 'deferred 10'], 15]);
    world.run(5);
    expect(calls.slice(3)).toEqual(['b 20', 'b2 20']);
  });

  it('keeps many events in order', () => {
    const world = new World(2);
    const times: number[] = [];
    for (let n = 0; n < 5000; n++) {
      world.schedule(world.random.integer(0, 500), undefined, 'x', () => times.push(world.now));
    }
    world.run(1000);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times).toHaveLength(5000);
  });

  it('never fires a cancelled timer, also one that is due at the same moment', () => {
    const world = new World(3);
    const { env } = hostOf(world);
    const calls: string[] = [];
    env.timers.after(5, () => second.cancel());
    const second = env.timers.after(5, () => calls.push('second'));
    let rounds = 0;
    const every = env.timers.every(10, () => {
      if (++rounds === 3) every.cancel();
    });
    world.run(100);
    expect([calls, rounds]).toEqual([[], 3]);
  });

  it('ends runUntil with the event that made the condition true, or at the deadline', () => {
    const world = new World(4);
    const { env } = hostOf(world);
    let count = 0;
    env.timers.every(10, () => count++);
    expect(world.runUntil(() => count === 3, 1000)).toBe(true);
    expect(world.now).toBe(30);
    expect(world.runUntil(() => count === 100, 50)).toBe(false);
    expect(world.now).toBe(80);
  });

  it('lets promises proceed between the events of play', async () => {
    const world = new World(5);
    const { env } = hostOf(world);
    const times: number[] = [];
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => void env.timers.after(ms, resolve));
    void (async () => {
      for (let round = 0; round < 3; round++) {
        await sleep(10);
        await Promise.resolve().then(() => undefined);
        times.push(world.now);
      }
    })();
    expect(await world.play(() => times.length === 3, 1000)).toBe(true);
    expect(times).toEqual([10, 20, 30]);
    expect(await world.play(() => false, 100)).toBe(false);
    expect(world.now).toBe(130);
  });

  it('never calls an event of an earlier life', () => {
    const world = new World(6);
    const { host, env } = hostOf(world);
    const calls: string[] = [];
    env.timers.after(10, () => calls.push('old'));
    host.kill();
    env.timers.after(10, () => calls.push('asked for when dead'));
    world.run(5);
    host.restart();
    env.timers.after(1, () => calls.push('asked for by the dead process'));
    env.timers.every(1, () => calls.push('asked for by the dead process'));
    host.env(noDisk).timers.after(10, () => calls.push('new'));
    host.timers.after(11, () => calls.push('its machine'));
    world.run(100);
    expect(calls).toEqual(['new', 'its machine']);
  });

  it('keeps what falls due during a pause for the end of it, an interval only once', () => {
    const world = new World(7);
    const { host, env } = hostOf(world);
    const calls: string[] = [];
    env.timers.after(10, () => calls.push(`one ${env.clock.monotonic()}`));
    const cancelled = env.timers.after(12, () => calls.push('cancelled'));
    env.timers.after(11, () => cancelled.cancel());
    env.timers.every(30, () => calls.push(`interval ${env.clock.monotonic()}`));
    host.pause();
    world.run(100);
    expect(calls).toEqual([]);
    host.resume();
    world.run(29);
    expect(calls).toEqual(['one 100', 'interval 100']);
    world.run(1);
    expect(calls.slice(2)).toEqual(['interval 130']);
  });

  it('lets clocks drift and jump, each host for itself', () => {
    const world = new World(8);
    const fast = hostOf(world, 'fast');
    const plain = hostOf(world, 'plain');
    fast.host.drift(0.1);
    let firedAt = 0;
    fast.env.timers.after(110, () => {
      firedAt = world.now;
    });
    world.run(100);
    expect(firedAt).toBeCloseTo(100);
    expect(fast.env.clock.monotonic()).toBeCloseTo(110);
    expect(plain.env.clock.monotonic()).toBe(100);
    const before = fast.env.clock.wall();
    fast.host.jump(-5000);
    expect(fast.env.clock.wall()).toBe(before - 5000);
    fast.host.drift(0);
    world.run(100);
    expect(fast.env.clock.monotonic()).toBeCloseTo(210);
  });

  it('does not spin for ever at one moment', () => {
    const world = new World(9);
    const { env } = hostOf(world);
    const spin = (): void => env.timers.defer(spin);
    spin();
    expect(() => world.run(1)).toThrow('time stands still');
  });

  it('gives the same trace for the same seed, and another one for another', () => {
    expect(trace(42)).toBe(trace(42));
    expect(trace(42)).not.toBe(trace(43));
  });
});

/** Two hosts that send each other random bytes while one is killed and the way is cut. */
function trace(seed: number): string {
  const world = new World(seed);
  const [a, b] = [hostOf(world, 'a'), hostOf(world, 'b')];
  void b.env.network.listen('b', 1, (socket) => {
    const close = (): void => socket.destroy();
    socket.on({ data: (bytes) => socket.write(bytes), end: close, drain: () => {}, close: () => {} });
  });
  const socket = a.env.network.dial('b', 1, () => {});
  socket.on({ data: () => {}, end: () => {}, drain: () => {}, close: () => {} });
  a.env.timers.every(7, () => socket.write(a.env.random.bytes(100)));
  world.run(200);
  world.network.partition([a.host], [b.host]);
  world.run(50);
  world.network.heal();
  world.run(50);
  b.host.kill();
  world.run(50);
  return world.traceHash;
}

describe('seeded randomness', () => {
  it('repeats itself for the same seed only', () => {
    expect(new SeededRandom('x').bytes(64)).toEqual(new SeededRandom('x').bytes(64));
    expect(new SeededRandom('x').bytes(64)).not.toEqual(new SeededRandom('y').bytes(64));
  });

  it('is spread evenly', () => {
    const random = new SeededRandom('spread');
    const buckets = Array<number>(16).fill(0);
    for (let n = 0; n < 160_000; n++) buckets[Math.floor(random.float() * 16)]!++;
    for (const count of buckets) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    const dice = new Set(Array.from({ length: 1000 }, () => random.integer(1, 6)));
    expect([...dice].sort()).toEqual([1, 2, 3, 4, 5, 6]);
  });
});
