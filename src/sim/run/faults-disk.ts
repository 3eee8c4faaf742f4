/** Faults of disks. A node that says that its disk failed, is full or corrupt, and stops, does what it promised. */

import type { SimNode } from '../cluster.js';
import { type DiskStep, SIM_SECTOR, type SimDisk } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

const folder = '/data';

/** The next step of this kind on one node fails. */
function failing(name: string, ...steps: readonly DiskStep[]): FaultKind {
  return {
    name,
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      const step = steps[random.integer(0, steps.length - 1)]!;
      const forgive = stage.excuse(node, /ordered to fail/);
      const { disk } = node;
      disk.fail(step, random.integer(1, 3), 'io');
      return () => {
        disk.forgetFaults();
        forgive();
        stage.revive(node);
      };
    },
  };
}

function files(node: SimNode, pattern: RegExp): string[] {
  if (!node.disk.exists(folder)) return [];
  return node.disk
    .list(folder)
    .filter((name) => pattern.test(name))
    .map((name) => `${folder}/${name}`);
}

/** How often a folder is looked at that is being repaired. */
const wholeAgainMs = 200;

function usedBytes(node: SimNode): number {
  return files(node, /^(?!damaged-)/).reduce((sum, path) => sum + node.disk.content(path).length, 0);
}

function fullDisk(stage: Stage, random: SeededRandom): Heal | undefined {
  const node = stage.running(random);
  if (!node) return undefined;
  const forgive = stage.excuse(node, /no space left/);
  const { disk } = node;
  disk.capacity = usedBytes(node) + random.integer(0, 40_000);
  return () => {
    disk.capacity = Number.POSITIVE_INFINITY;
    forgive();
    stage.revive(node);
  };
}

interface Bit {
  readonly path: string;
  readonly bit: number;
}

/** A bit of any of these files, or of their first sectors. */
function somewhere(node: SimNode, pattern: RegExp, random: SeededRandom): Bit | undefined {
  const paths = files(node, pattern);
  const path = paths[random.integer(0, paths.length - 1)];
  if (path === undefined) return undefined;
  const { length } = node.disk.content(path);
  const end = random.chance(0.5) ? length : Math.min(length, 16 * SIM_SECTOR);
  return { path, bit: random.integer(0, end * 8 - 1) };
}

/** A bit of what was written last: there, rot is most like a write that a crash cut short. */
function newest(node: SimNode, pattern: RegExp, random: SeededRandom): Bit | undefined {
  if (random.chance(0.3)) return undefined;
  const present = files(node, pattern);
  const last = [...node.disk.lastWrites].findLast(([path]) => present.includes(path));
  if (!last) return undefined;
  const [path, { position, bytes }] = last;
  return { path, bit: (position + random.integer(0, bytes - 1)) * 8 + random.integer(0, 7) };
}

/**
 * A bit of a file changes while its node is down. The node starts and has lost nothing; or repairs itself from the others; or, where
 * that cannot be, says that it is corrupt and stays down: never anything in between. When the fault ends the bit is mended,
 * where it still stands.
 */
function bitFlip(name: string, pattern: RegExp): FaultKind {
  return {
    name,
    inject: (stage, random) => {
      const node = stage.running(random);
      const paths = node ? files(node, pattern) : [];
      if (!node || paths.length === 0 || !stage.mayDamage(node)) return undefined;
      stage.crash(node, random.chance(0.5) ? 'kill' : 'tear');
      const place = newest(node, pattern, random) ?? somewhere(node, pattern, random);
      if (!place) return () => stage.revive(node);
      const { path, bit } = place;
      const before = node.disk.content(path);
      stage.damage(node);
      stage.tell(`node ${node.id}`, `bit ${bit} of ${path} flips`);
      node.disk.flipBit(path, bit);
      const rotten = node.disk.content(path);
      const forgive = stage.excuse(node, /corrupt|damaged|missing|unknown|is the data folder of/);
      stage.revive(node);
      return () => {
        if (node.disk.exists(path) && sameBytes(node.disk.content(path), rotten)) {
          stage.crash(node, 'kill');
          if (sameBytes(node.disk.content(path), rotten)) node.disk.plant(path, before);
        }
        whenWhole(stage, node);
        forgive();
        stage.revive(node);
      };
    },
  };
}

/** A folder that its node still repairs is as good as damaged: nobody else's may be hurt. */
function whenWhole(stage: Stage, node: SimNode): void {
  if (files(node, /^damaged$/).length === 0) stage.repaired(node);
  else stage.world.schedule(wholeAgainMs, undefined, 'whole again?', () => whenWhole(stage, node));
}

/**
 * A disk that says it has what it does not have, until its machine loses power. What it then forgets, nobody can tell it: the node has
 * promised things that it does not know of, and never comes back.
 */
function lying(name: string, begin: (disk: SimDisk, random: SeededRandom) => void): FaultKind {
  return {
    name,
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node || !stage.mayDamage(node) || !random.chance(0.3)) return undefined;
      begin(node.disk, random);
      stage.damage(node);
      stage.hold(node, name);
      return () => {
        stage.crash(node, random.chance(0.5) ? 'drop' : 'tear');
        stage.lose(node);
      };
    },
  };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

export const diskFaults: readonly FaultKind[] = [
  failing('write error', 'write'),
  failing('write cut short', 'complete'),
  failing('sync error', 'sync', 'syncDir'),
  failing('create error', 'create', 'rename'),
  failing('read error', 'read'),
  lying('disk that lies', (disk) => {
    disk.lying = () => true;
  }),
  lying('lost rename', (disk, random) => disk.loseRename(random.integer(1, 2))),
  { name: 'full disk', inject: fullDisk },
  {
    name: 'slow disk',
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      const { diskDelayMs } = node;
      node.diskDelayMs = [5, random.between(20, 400)];
      return () => {
        node.diskDelayMs = diskDelayMs;
      };
    },
  },
  {
    // What an old leader sent is still on its way to the disks when the next one begins.
    name: 'slow disks at an election',
    inject: (stage, random) => {
      const before = stage.nodes.map((node) => node.diskDelayMs);
      for (const node of stage.nodes) node.diskDelayMs = [20, random.between(100, 900)];
      let leader: SimNode | undefined;
      let over = false;
      stage.world.schedule(random.between(200, 1_500), undefined, 'leader dies', () => {
        leader = over ? undefined : stage.nodes.find((node) => stage.leads(node));
        if (leader) stage.crash(leader, 'kill');
      });
      return () => {
        over = true;
        stage.nodes.forEach((node, at) => {
          node.diskDelayMs = before[at]!;
        });
        if (leader) stage.revive(leader);
      };
    },
  },
  {
    name: 'stuck disk',
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      const { disk } = node;
      disk.hold();
      return () => disk.letGo();
    },
  },
  bitFlip('bit flip in the log', /^wal-/),
  bitFlip('bit flip in a snapshot', /\.snap$/),
  bitFlip('bit flip in the vote', /^vote-/),
  bitFlip('bit flip in the founding record', /^(founding|meta)$/),
];
