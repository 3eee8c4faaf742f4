/** Nodes that are not what they say: old disks put back, two of one id, strangers, members of another cluster. All must be refused. */

import { openLog } from '../../log/log.js';
import type { NodeObserver } from '../../node/observer.js';
import { crc32c } from '../../store/crc32c.js';
import { SimNode } from '../cluster.js';
import { SimDisk } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

/** Watches a node that nobody may listen to: it must never lead, nor hear of a commit or get a snapshot. */
function outcast(stage: Stage, what: string): NodeObserver {
  // What its own snapshot says.
  let known = 0;
  return {
    began: (raft) => {
      known = raft.commit;
    },
    ready: (raft) => {
      if (raft.role === 'leader' || raft.commit > known)
        stage.fail(new Error(`${what} takes part: it is ${raft.role} of term ${raft.term} with commit ${raft.commit}`));
    },
    saved: () => {},
    persisted: () => {},
    installed: () => stage.fail(new Error(`${what} takes part: it gets a snapshot`)),
    received: () => {},
    applied: () => {},
  };
}

/** Calls `then` once, when a line of the node's log matches. */
export function onLine(stage: Stage, node: SimNode, pattern: RegExp, then: () => void): void {
  const before = stage.cluster.onLine;
  let told = false;
  stage.cluster.onLine = (who, level, text) => {
    before(who, level, text);
    if (who !== node || told || !pattern.test(text)) return;
    told = true;
    then();
  };
}

/**
 * An old copy of a disk is put back, from before its node was started again. Its start counter is too low, so those that met the newer
 * one refuse it. They must not forget what they met: if one goes down, the right disk is put back first.
 */
function staleDisk(stage: Stage, random: SeededRandom): Heal | undefined {
  const node = stage.running(random);
  const peers = stage.nodes.filter((each) => each !== node);
  if (!node || peers.length === 0 || !stage.mayDamage(node)) return undefined;
  const old = node.disk.fork(node.diskOptions);
  old.crash('drop');
  const right = node.disk;
  let over = false;
  // Each start of the old disk raises its counter, until it passes that of the right one: it may be started once.
  const watch = (crashed: SimNode): void => {
    if (crashed !== node || node.disk === old) putBack();
  };
  const putBack = (): void => {
    if (over) return;
    over = true;
    stage.onCrash.delete(watch);
    if (node.disk !== old) return;
    stage.crash(node, 'kill');
    stage.watch(node, undefined);
    node.disk = right;
    stage.repaired(node);
    stage.letGo(node, 'stale disk');
    stage.tell(`node ${node.id}`, 'gets its right disk back');
    stage.revive(node);
  };
  const swap = (): void => {
    if (over || node.disk !== right || !node.host.up || !linkedToAll(stage, node, peers) || !stage.mayDamage(node)) {
      putBack();
      return;
    }
    stage.crash(node, 'kill');
    stage.damage(node);
    node.disk = old;
    stage.watch(node, outcast(stage, `node ${node.id} with an old disk`));
    stage.tell(`node ${node.id}`, 'is given an old copy of its disk');
    onLine(stage, node, /refused by .*an old copy of its folder/, () => stage.count('stale disk'));
    stage.revive(node);
  };
  stage.crash(node, 'kill');
  stage.revive(node);
  stage.onCrash.add(watch);
  stage.world.schedule(random.between(800, 2_000), undefined, 'stale disk', swap);
  // It stays for a while, however short the fault was planned.
  return () => void stage.world.schedule(1_500, undefined, 'right disk', putBack);
}

/** Each peer has met this life of the node. */
function linkedToAll(stage: Stage, node: SimNode, peers: readonly SimNode[]): boolean {
  return peers.every((peer) => peer.host.state === 'running' && stage.hasMet(peer, node));
}

/** A machine that does not belong. */
function intruder(stage: Stage, name: string, id: number): SimNode {
  const { world } = stage;
  const host = world.host(name) ?? world.addHost(name);
  if (!host.up) host.restart();
  const node = new SimNode(id, host, 'js');
  stage.watch(node, outcast(stage, name));
  return node;
}

function leave(stage: Stage, node: SimNode): Heal {
  return () => {
    if (node.host.up) node.host.kill();
    stage.cluster.forget(node);
    stage.watch(node, undefined);
  };
}

/** A second process with the id of a member and a folder of its own. */
function twin(stage: Stage, random: SeededRandom): Heal | undefined {
  if (stage.nodes.length < 2 || stage.world.host('twin')?.up) return undefined;
  const member = stage.nodes[random.integer(0, stage.nodes.length - 1)]!;
  const node = intruder(stage, 'twin', member.id);
  stage.excuse(node, /the data folder is new|was not let into the cluster/);
  onLine(stage, node, /refused by .*not the one that joined/, () => stage.count('two nodes of one id'));
  stage.cluster.start(node);
  return leave(stage, node);
}

/** A node that was told to join, and that nobody knows. */
function stranger(stage: Stage): Heal | undefined {
  if (stage.nodes.length < 2 || stage.world.host('stranger')?.up) return undefined;
  const node = intruder(stage, 'stranger', 77);
  onLine(stage, node, /refused by .*no member 77/, () => stage.count('stranger'));
  stage.cluster.start(node, { peers: [{ id: 77, address: 'stranger:8080' }, ...stage.cluster.peers] });
  return leave(stage, node);
}

/** A member of another cluster that was given the addresses of this one. */
function foreigner(stage: Stage, random: SeededRandom): Heal | undefined {
  if (stage.nodes.length < 2 || stage.world.host('foreigner')?.up) return undefined;
  const member = stage.nodes[random.integer(0, stage.nodes.length - 1)]!;
  const node = intruder(stage, 'foreigner', member.id);
  const address = (id: number): string => (id === member.id ? 'foreigner:8080' : `node${id}:8080`);
  const peers = stage.nodes.map(({ id }) => ({ id, address: address(id) }));
  onLine(stage, node, /refused by .*another cluster/, () => stage.count('foreigner'));
  let gone = false;
  stage.world.unsettled++;
  void foundElsewhere(node, peers, random).then(() => {
    stage.world.unsettled--;
    if (!gone) stage.cluster.start(node, { peers });
  });
  return () => {
    gone = true;
    leave(stage, node)();
  };
}

async function foundElsewhere(
  node: SimNode,
  peers: readonly { readonly id: number; readonly address: string }[],
  random: SeededRandom,
): Promise<void> {
  // Its own writes need no time: the process that runs on it is not there yet.
  node.disk = new SimDisk({ ...node.diskOptions, schedule: (callback) => queueMicrotask(callback) });
  const log = await openLog({
    disk: node.disk,
    random,
    crc32c,
    directory: '/data',
    nodeId: node.id,
    segmentBytes: 8_192,
  });
  const members = peers.map((peer) => ({
    ...peer,
    identity: peer.id === node.id ? log.folder.identity : random.bytes(16),
  }));
  log.found({ clusterId: random.bytes(16), members });
  await log.close();
}

export const identityFaults: readonly FaultKind[] = [
  { name: 'stale disk', countsItself: true, inject: staleDisk },
  { name: 'two nodes of one id', countsItself: true, inject: twin },
  { name: 'stranger', countsItself: true, inject: (stage) => stranger(stage) },
  { name: 'foreigner', countsItself: true, inject: foreigner },
];
