/** Faults of processes, machines and clocks. */
import type { SimNode } from '../cluster.js';
import type { CrashMode } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

/** A crash of the running nodes that `choose` picks; each comes back when the fault ends. */
function crash(
  name: string,
  choose: (stage: Stage, random: SeededRandom) => SimNode[],
  ...modes: CrashMode[]
): FaultKind {
  return {
    name,
    inject: (stage, random) => {
      const nodes = choose(stage, random).filter(({ host }) => host.up);
      if (nodes.length === 0) return undefined;
      for (const node of nodes) stage.crash(node, modes[random.integer(0, modes.length - 1)]!);
      return () => {
        for (const node of nodes) stage.revive(node);
      };
    },
  };
}

const one = (stage: Stage, random: SeededRandom): SimNode[] =>
  [stage.running(random)].filter((node) => node !== undefined);
const all = (stage: Stage): SimNode[] => [...stage.nodes];
const leader = (stage: Stage): SimNode[] => stage.nodes.filter((node) => stage.leads(node));
const some = (stage: Stage, random: SeededRandom): SimNode[] => stage.nodes.filter(() => random.chance(0.5));

function pause(node: SimNode | undefined): Heal | undefined {
  if (node?.host.state !== 'running') return undefined;
  node.host.pause();
  return () => node.host.resume();
}

/** Crashes a node again and again while it recovers. */
function crashInRecovery(stage: Stage, random: SeededRandom): Heal | undefined {
  const node = stage.running(random);
  if (!node) return undefined;
  let times = random.integer(1, 4);
  let over = false;
  const again = (): void => {
    if (over) return;
    stage.crash(node, random.chance(0.5) ? 'tear' : 'drop');
    stage.world.schedule(random.between(1, 50), undefined, 'recover', () => {
      stage.revive(node);
      if (times-- > 0) stage.world.schedule(random.between(0, 8), undefined, 'crash in recovery', again);
    });
  };
  again();
  return () => {
    over = true;
    stage.revive(node);
  };
}

/** The process is asked to stop, and does. */
function stop(stage: Stage, node: SimNode | undefined): Heal | undefined {
  const running = node?.running;
  if (node?.host.state !== 'running' || !running) return undefined;
  const { life } = node.host;
  stage.world.unsettled++;
  let ended = false;
  const end = (): void => {
    if (!ended) stage.world.unsettled--;
    ended = true;
  };
  const release = (): void => {
    end();
    if (node.host.life === life) stage.crash(node, 'kill');
  };
  void running.stop().then(release);
  return () => {
    release();
    stage.revive(node);
  };
}

export const processFaults: readonly FaultKind[] = [
  crash('kill', one, 'kill'),
  crash('power loss', one, 'drop'),
  crash('power loss, some survives', one, 'tear'),
  crash('kill of the leader', leader, 'kill', 'tear'),
  crash('kill of some', some, 'kill'),
  crash('power loss of some', some, 'tear', 'drop'),
  crash('kill of all', all, 'kill'),
  crash('power loss of all', all, 'drop', 'tear'),
  { name: 'crash in recovery', inject: crashInRecovery },
  { name: 'stop', inject: (stage, random) => stop(stage, stage.running(random)) },
  { name: 'pause', inject: (stage, random) => pause(stage.running(random)) },
  { name: 'pause of the leader', alarms: true, inject: (stage) => pause(leader(stage)[0]) },
  {
    name: 'stalls',
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      let over = false;
      const stall = (): void => {
        if (over) return;
        const resume = pause(node);
        stage.world.schedule(random.between(10, 150), undefined, 'stall ends', () => {
          resume?.();
          stage.world.schedule(random.between(10, 300), undefined, 'stall', stall);
        });
      };
      stall();
      return () => {
        over = true;
        node.host.resume();
      };
    },
  },
  {
    name: 'clock jumps forward',
    inject: (stage, random) => {
      stage.running(random)?.host.jump(random.between(1_000, 86_400_000));
      return () => {};
    },
  },
  {
    name: 'clock jumps back',
    inject: (stage, random) => {
      stage.running(random)?.host.jump(-random.between(1_000, 86_400_000));
      return () => {};
    },
  },
  {
    name: 'clock drifts',
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      node.host.drift(random.between(-0.2, 0.2));
      return () => node.host.drift(0);
    },
  },
];
