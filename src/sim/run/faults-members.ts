/** Folders that are lost, members that are removed and come back, and leadership that is handed over. */
import type { SimNode } from '../cluster.js';
import { SimDisk } from '../disk.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import { onLine } from './faults-identity.js';
import { watch } from './faults-snapshots.js';
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
  if (random.chance(0.5)) killInJoint(stage, random);
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

/** Pause before a request to the leader is sent again, and before it is looked for again. */
const againMs = 200;

/** Asks whoever leads for a change of the members, again and again until it is done. */
function request(stage: Stage, what: object, done: () => void): void {
  const again = (): void =>
    void stage.world.schedule(againMs, undefined, 'ask again', () => request(stage, what, done));
  const leader = stage.nodes.find((node) => stage.leads(node) && node.host.state === 'running');
  if (!leader) {
    again();
    return;
  }
  const client = stage.cluster.client(leader);
  let over = false;
  const finish = (next: () => void): void => {
    if (over) return;
    over = true;
    client.close();
    next();
  };
  client.send(`@cluster ${JSON.stringify(what)}`, (reply) => finish(reply?.startsWith('{"done"') ? done : again));
  // Whoever is asked may never answer: cut off, or stopped.
  stage.world.schedule(patienceMs, undefined, 'ask again', () => finish(again));
}

/** A request that has no answer by then is sent again: what it asks for may be done by now. */
const patienceMs = 5_000;

/** The leader dies while two memberships decide: who follows must have the votes of both majorities. */
function killInJoint(stage: Stage, random: SeededRandom): void {
  const name = 'leader dies in a joint membership';
  const over = stage.await(name);
  const found = (): SimNode | undefined => [...stage.joint].find((node) => node.host.up);
  watch(
    stage,
    1,
    jointMs,
    () => found() !== undefined,
    () => {
      const leader = found();
      if (leader) {
        stage.count(name);
        stage.tell('fault', `${name}: node ${leader.id}`);
        stage.crash(leader, 'kill');
        stage.world.schedule(random.between(300, 3_000), undefined, 'revive', () => stage.revive(leader));
      }
      over();
    },
  );
}

/** A member that comes back becomes a voter within so long, or nobody waits for it. */
const jointMs = 10_000;

/**
 * A member is removed, whether it is there or not; it stops by itself, comes back with its old folder, and is refused. Then it is invited
 * to return with a new one, and does. Until it has a vote again no other disk is hurt: fewer voters are left to hold what is committed.
 */
function removed(stage: Stage, random: SeededRandom): Heal | undefined {
  const node = stage.running(random);
  if (!node || stage.nodes.length < 3 || stage.hurt > 0 || !stage.mayDamage(node)) return undefined;
  const name = 'removed node returns';
  const over = stage.await(name);
  const noExcuse = stage.excuse(node, /was removed from the cluster|another data folder|was not let into the cluster/);
  stage.damage(node);
  if (random.chance(0.3)) stage.crash(node, 'kill');
  let seen = false;
  onLine(stage, node, /refused by .* was removed from the cluster/, () => {
    if (!seen) stage.count(name);
    seen = true;
  });
  const comeBack = (): void => {
    stage.crash(node, 'kill');
    node.disk = new SimDisk(node.diskOptions);
    stage.renew(node, () => {
      stage.repaired(node);
      noExcuse();
      over();
    });
    stage.tell(`node ${node.id}`, 'is invited to come back, with an empty folder');
    stage.revive(node);
    if (random.chance(0.5)) killInJoint(stage, random);
  };
  const invite = (): void => request(stage, { request: 'add', id: node.id, address: `node${node.id}:8080` }, comeBack);
  const outMs = random.between(200, 4_000);
  request(stage, { request: 'remove', id: node.id }, () => {
    stage.tell(`node ${node.id}`, 'is removed from the cluster');
    stage.count('member removed');
    stage.revive(node);
    stage.world.schedule(outMs, undefined, 'invite', invite);
  });
  return () => stage.revive(node);
}

export const memberFaults: readonly FaultKind[] = [
  { name: 'lost folder', countsItself: true, inject: lostFolder },
  { name: 'member removed', countsItself: true, inject: removed },
  { name: 'leadership handed over', countsItself: true, inject: (stage) => handOver(stage) },
];
