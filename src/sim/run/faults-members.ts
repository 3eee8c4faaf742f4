/** Folders that are lost, and leadership that is handed over: what the cluster has to get over by itself. */
import { SimDisk } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

/**
 * The data folder of a node is lost while it is down. Started as before, it is replaced: out of the cluster with the old folder, in
 * with the new one, which has forgotten what the old one promised. One at a time: with two out of five, a majority of those that
 * are left is fewer than the checker of commits insists on.
 */
function lostFolder(stage: Stage, random: SeededRandom): Heal | undefined {
  const node = stage.running(random);
  if (!node || stage.nodes.length < 3 || stage.hurt > 0 || !stage.mayDamage(node)) return undefined;
  stage.crash(node, random.chance(0.5) ? 'kill' : 'drop');
  stage.damage(node);
  node.disk = new SimDisk(node.diskOptions);
  stage.renew(node, () => {
    stage.repaired(node);
    stage.count('lost folder');
  });
  stage.tell(`node ${node.id}`, 'has lost its data folder');
  stage.revive(node);
  return () => stage.revive(node);
}

/** Somebody asks the leader to hand over, to whom it likes. */
function handOver(stage: Stage): Heal | undefined {
  const leader = stage.nodes.find((node) => stage.leads(node));
  if (!leader || stage.nodes.length < 2) return undefined;
  const client = stage.cluster.client(leader);
  client.send('@cluster {"request":"transfer"}', (reply) => {
    if (reply?.startsWith('{"leader"')) stage.count('leadership handed over');
  });
  return () => client.close();
}

export const memberFaults: readonly FaultKind[] = [
  { name: 'lost folder', countsItself: true, inject: lostFolder },
  { name: 'leadership handed over', countsItself: true, inject: (stage) => handOver(stage) },
];
