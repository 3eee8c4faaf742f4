/** Faults of the network. A stream hides loss, doubles and disorder of packets; what is left of them are delays, stalls and broken connections. */
import type { Conditions } from '../network.js';
import type { SeededRandom } from '../random.js';
import type { SimHost } from '../world.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

type Way = readonly [SimHost, SimHost];

function cut(stage: Stage, ways: readonly Way[]): Heal {
  const { network } = stage.world;
  for (const [from, to] of ways) network.cut(from, to);
  return () => {
    for (const [from, to] of ways) network.open(from, to);
  };
}

const both = (a: SimHost, b: SimHost): Way[] => [
  [a, b],
  [b, a],
];

/** Two members, in an order drawn at random. */
function pair(stage: Stage, random: SeededRandom): [SimHost, SimHost] | undefined {
  const { nodes } = stage;
  if (nodes.length < 2) return undefined;
  const one = nodes[random.integer(0, nodes.length - 1)]!;
  return [one.host, stage.other(random, one)!.host];
}

/** Members in two groups, neither empty. */
function groups(stage: Stage, random: SeededRandom): [SimHost[], SimHost[]] | undefined {
  const hosts = stage.nodes.map(({ host }) => host);
  if (hosts.length < 2) return undefined;
  const first = hosts.filter(() => random.chance(0.5));
  if (first.length === 0 || first.length === hosts.length) first.splice(0, first.length, hosts[0]!);
  return [first, hosts.filter((host) => !first.includes(host))];
}

function leaderHost(stage: Stage): SimHost | undefined {
  return stage.nodes.find((node) => node.host.up && stage.leads(node))?.host;
}

/** Other conditions on some ways for a while. */
function weather(stage: Stage, ways: readonly Way[], change: Partial<Conditions>): Heal {
  const { network } = stage.world;
  for (const [from, to] of ways) network.between(from, to, { ...network.conditions, ...change });
  return () => {
    for (const [from, to] of ways) network.between(from, to, undefined);
  };
}

/** All ways of one link, of one node, or of the whole cluster, clients among them. */
function someWays(stage: Stage, random: SeededRandom): Way[] {
  const hosts = [...stage.nodes.map(({ host }) => host), stage.cluster.clients];
  const all = hosts.flatMap((from) => hosts.filter((to) => to !== from).map((to): Way => [from, to]));
  const which = random.integer(0, 2);
  if (which === 0) return all;
  const one = hosts[random.integer(0, hosts.length - 1)]!;
  if (which === 1) return all.filter((way) => way.includes(one));
  return [all[random.integer(0, all.length - 1)]!];
}

const bad = (name: string, change: (random: SeededRandom) => Partial<Conditions>): FaultKind => ({
  name,
  inject: (stage, random) => weather(stage, someWays(stage, random), change(random)),
});

function flap(stage: Stage, random: SeededRandom, ways: readonly Way[]): Heal {
  let over = false;
  let open: Heal | undefined;
  const turn = (): void => {
    if (over) return;
    if (open) {
      open();
      open = undefined;
    } else open = cut(stage, ways);
    stage.world.schedule(random.between(20, 300), undefined, 'flap', turn);
  };
  turn();
  return () => {
    over = true;
    open?.();
  };
}

export const networkFaults: readonly FaultKind[] = [
  {
    name: 'one-way cut',
    inject: (stage, random) => {
      const two = pair(stage, random);
      return two && cut(stage, [two]);
    },
  },
  {
    name: 'link cut',
    inject: (stage, random) => {
      const two = pair(stage, random);
      return two && cut(stage, both(...two));
    },
  },
  {
    name: 'partition',
    alarms: true,
    inject: (stage, random) => {
      const sides = groups(stage, random);
      return (
        sides &&
        cut(
          stage,
          sides[0].flatMap((a) => sides[1].flatMap((b) => both(a, b))),
        )
      );
    },
  },
  {
    name: 'leader cut off',
    alarms: true,
    inject: (stage, random) => {
      const leader = leaderHost(stage);
      const rest = stage.nodes.map(({ host }) => host).filter((host) => host !== leader);
      if (!leader || rest.length === 0) return undefined;
      const ways = rest.flatMap((host) => both(leader, host));
      const open = cut(stage, ways);
      // Half of them end while the old leader may still believe that it leads.
      if (random.chance(0.5)) stage.world.schedule(random.between(300, 900), undefined, 'leader is back', open);
      return open;
    },
  },
  {
    name: 'deaf leader',
    alarms: true,
    inject: (stage) => {
      const leader = leaderHost(stage);
      const rest = stage.nodes.map(({ host }) => host).filter((host) => host !== leader);
      return leader && rest.length > 0
        ? cut(
            stage,
            rest.map((host): Way => [host, leader]),
          )
        : undefined;
    },
  },
  {
    // A follower that has missed something is let in again at the moment that the leader goes.
    name: 'laggard at an election',
    alarms: true,
    inject: (stage, random) => {
      const followers = stage.nodes.filter((node) => node.host.up && !stage.leads(node));
      const laggard = followers[random.integer(0, followers.length - 1)];
      if (!laggard || stage.nodes.length < 3) return undefined;
      const rest = stage.nodes.filter((node) => node !== laggard);
      const open = cut(
        stage,
        rest.flatMap(({ host }) => both(laggard.host, host)),
      );
      return () => {
        const leader = rest.find((node) => stage.leads(node));
        if (leader) stage.crash(leader, 'kill');
        open();
        stage.world.schedule(random.between(300, 1_500), undefined, 'leader comes back', () => {
          if (leader) stage.revive(leader);
        });
      };
    },
  },
  {
    name: 'clients cut off',
    inject: (stage, random) => {
      const node = stage.nodes[random.integer(0, stage.nodes.length - 1)]!;
      const ways = both(node.host, stage.cluster.clients);
      return cut(stage, random.chance(0.5) ? ways : [ways[random.integer(0, 1)]!]);
    },
  },
  {
    name: 'flapping link',
    inject: (stage, random) => {
      const two = pair(stage, random);
      return two && flap(stage, random, both(...two));
    },
  },
  {
    name: 'broken connections',
    inject: (stage, random) => {
      const two = pair(stage, random);
      if (!two) return undefined;
      stage.world.network.breakConnections(...two);
      return () => {};
    },
  },
  {
    name: 'half-open connections',
    inject: (stage, random) => {
      const two = pair(stage, random);
      if (!two) return undefined;
      stage.world.network.forgetConnections(...two);
      return () => {};
    },
  },
  bad('lost packets', (random) => ({ lossChance: random.between(0.01, 0.3) })),
  bad('resets', (random) => ({ resetChance: random.between(0.001, 0.03) })),
  bad('slow link', (random) => ({ delayMs: [20, random.between(50, 400)] })),
  bad('jitter', (random) => ({ delayMs: [0.1, random.between(20, 200)] })),
  bad('split chunks', () => ({ splitChance: 0.95 })),
  bad('joined chunks', () => ({ joinChance: 0.95 })),
  bad('narrow window', (random) => ({ windowBytes: random.integer(64, 4_096) })),
  bad('narrow link', (random) => ({ bytesPerMs: random.between(1, 50) })),
];
