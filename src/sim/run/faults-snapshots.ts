/**
 * Faults on the way of a snapshot: a member is left behind until the others have shortened their logs, and comes back; then
 * something happens while it is brought a snapshot. They are counted when it does.
 */
import type { SimNode } from '../cluster.js';
import type { CrashMode } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

const folder = '/data';
/** A node stays away for so long at most, and its way back is watched for so long. */
const awayMs = 10_000;
const watchedMs = 5_000;
/** While it is away, somebody writes so much, so often, to so many keys: else the logs would take their time. */
const fillEveryMs = 100;
const little = { bytes: 6_000, keys: ['junk'] };
/** Enough for a snapshot of several chunks. */
const much = { bytes: 60_000, keys: Array.from({ length: 12 }, (_, n) => `junk-${n}`) };
const modes: readonly CrashMode[] = ['kill', 'tear', 'drop'];

function files(node: SimNode, pattern: RegExp): string[] {
  return node.disk.exists(folder) ? node.disk.list(folder).filter((name) => pattern.test(name)) : [];
}

/** Whoever is away for one of these faults: one at a time. */
const away = new WeakSet<Stage>();

/** The newest generation that a node's log has files of. */
function generation(node: SimNode): number {
  return Math.max(0, ...files(node, /^wal-/).map((name) => Number(name.slice(4, 14))));
}

/** Looks every so many milliseconds, until `done` says so or the time is over. */
export function watch(
  stage: Stage,
  everyMs: number,
  ms: number,
  done: () => boolean,
  then: (held: boolean) => void,
): void {
  const until = stage.world.now + ms;
  const look = (): void => {
    const held = done();
    if (held || stage.world.now >= until) then(held);
    else stage.world.schedule(everyMs, undefined, 'watch', look);
  };
  look();
}

/** What happens to a node that has come back. `begin` is called then; what it returns is looked at until it holds. */
interface Trap {
  readonly name: string;
  begin(stage: Stage, node: SimNode): () => SimNode | undefined;
}

function leftBehind({ name, begin }: Trap): FaultKind {
  return { name, countsItself: true, inject: (stage, random) => leave(stage, random, name, begin) };
}

function leave(stage: Stage, random: SeededRandom, name: string, begin: Trap['begin']): Heal | undefined {
  const node = stage.running(random);
  if (!node || stage.nodes.length < 3 || stage.leads(node) || away.has(stage)) return undefined;
  const others = stage.nodes.filter((each) => each !== node);
  if (others.every((each) => files(each, /\.snap$/).length === 0)) return undefined;
  away.add(stage);
  const over = stage.await(name);
  stage.crash(node, modes[random.integer(0, 2)]!);
  stage.hold(node, name);
  // All that it had, the others have in these.
  const segments = others.map((each) => new Set(files(each, /^wal-/)));
  const gone = (): boolean =>
    others.every((each, at) => files(each, /^wal-/).every((file) => !segments[at]!.has(file)));
  const what = random.chance(0.4) ? much : little;
  let back = false;
  const comeBack = (): void => {
    if (back) return;
    back = true;
    away.delete(stage);
    stage.letGo(node, name);
    stage.revive(node);
    spring(stage, random, name, begin(stage, node), over);
    stage.world.schedule(watchedMs, undefined, 'tidy', () => write(stage, `DEL ${what.keys.join(' ')}`));
  };
  fill(stage, what, () => back);
  watch(stage, 20, awayMs, () => back || gone(), comeBack);
  // It stays away until the others have gone on, however short the fault was planned.
  return () => void stage.world.schedule(awayMs, undefined, 'come back', comeBack);
}

/** Somebody writes, through the leader where there is one. */
function write(stage: Stage, line: string): void {
  const node = stage.nodes.find((each) => stage.leads(each) && each.host.state === 'running');
  if (!node) return;
  const client = stage.cluster.client(node);
  client.send(line, () => client.close());
}

function fill(stage: Stage, what: typeof little, over: () => boolean, turn = 0): void {
  if (over()) return;
  const { bytes, keys } = what;
  write(stage, `SET ${keys[turn % keys.length]} ${'x'.repeat(bytes)}`);
  stage.world.schedule(fillEveryMs, undefined, 'fill', () => fill(stage, what, over, turn + 1));
}

function spring(
  stage: Stage,
  random: SeededRandom,
  name: string,
  prey: () => SimNode | undefined,
  over: () => void,
): void {
  let caught: SimNode | undefined;
  const look = (): boolean => {
    caught = prey();
    return caught !== undefined;
  };
  watch(stage, 2, watchedMs, look, () => {
    const victim = caught;
    if (!victim?.host.up) return over();
    const later = random.chance(0.6) ? random.between(0, 3) : random.between(0, 200);
    stage.world.schedule(later, undefined, name, () => {
      stage.count(name);
      stage.tell('fault', `${name}: node ${victim.id}`);
      stage.crash(victim, modes[random.integer(0, 2)]!);
      stage.world.schedule(random.between(20, 500), undefined, 'revive', () => {
        stage.revive(victim);
        over();
      });
    });
  });
}

/** Whether a node logs a line from now on. */
function says(node: SimNode, text: string): () => boolean {
  const before = node.lines.length;
  return () => node.lines.slice(before).some((line) => line.includes(text));
}

const traps: readonly Trap[] = [
  {
    name: 'crash while a snapshot arrives',
    begin: (_stage, node) => () => (files(node, /\.part$/).length > 0 ? node : undefined),
  },
  {
    name: 'crash while a snapshot is installed',
    begin: (_stage, node) => {
      const before = generation(node);
      return () => (generation(node) > before ? node : undefined);
    },
  },
  {
    name: 'crash while a snapshot is loaded',
    begin: (_stage, node) => {
      const installed = says(node, 'in place of its log');
      return () => (installed() ? node : undefined);
    },
  },
  {
    name: 'leader dies while it sends a snapshot',
    begin: (stage, node) => {
      const senders = stage.nodes.map((each) => [each, says(each, `node ${node.id} gets the snapshot`)] as const);
      return () => senders.find(([, sends]) => sends())?.[0];
    },
  },
];

export const snapshotFaults: readonly FaultKind[] = [
  ...traps.map(leftBehind),
  {
    name: 'crash while a snapshot is taken',
    countsItself: true,
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      let over = false;
      const taking = (): boolean => over || files(node, /\.snap\.tmp$/).length > 0;
      watch(stage, 1, watchedMs, taking, (held) => {
        if (!held || over || !node.host.up) return;
        stage.count('crash while a snapshot is taken');
        stage.crash(node, modes[random.integer(0, 2)]!);
      });
      return () => {
        over = true;
        stage.revive(node);
      };
    },
  },
];
