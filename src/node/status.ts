/** STATUS, MEMBERS and QUIT: answered by the node itself, leader or not. */
import { commands } from '../protocol/commands.js';
import { isOutgoing, isVoter, takesPart } from './members.js';
import type { Node } from './node.js';

const code = (name: string): number => commands.find((c) => c.name === name)!.code;
const statusCode = code('STATUS');
const membersCode = code('MEMBERS');

interface Member {
  readonly id: number;
  readonly address: string;
  readonly voter: boolean;
}

/** The reply, one line, to a control command. */
export function controlReply(command: number, node: Node): { reply: string; quit: boolean } {
  if (command === statusCode) return { reply: JSON.stringify(status(node)), quit: false };
  if (command === membersCode) return { reply: JSON.stringify(members(node)), quit: false };
  return { reply: 'OK', quit: true };
}

/** Voters and learners by now; before a cluster is founded, those that are to found it. */
function members({ roster, options, address: own }: Node): Member[] {
  const here = roster.members.filter(takesPart);
  if (here.length === 0) {
    const { id, peers } = options;
    return (peers ?? [{ id, address: own }]).map((peer) => ({ ...peer, voter: peers !== undefined || id === 1 }));
  }
  // A cluster of one may have moved since it was founded.
  return here.map((member) => ({
    id: member.id,
    address: member.id === options.id ? own : member.address,
    voter: isVoter(member) || isOutgoing(member),
  }));
}

/** State hash and applied index are of one moment. */
function status(node: Node): Record<string, unknown> {
  const { raft, store } = node;
  const stats = store.stats();
  return {
    id: node.options.id,
    role: raft?.role ?? 'follower',
    term: raft?.term ?? 0,
    leader: raft?.leader || null,
    commit: raft?.commit ?? 0,
    applied: stats.applied,
    revision: stats.revision,
    keys: stats.keys,
    stateHash: stats.stateHash,
    checkpoint: stats.checkpoint,
    store: store.kind,
    version: { active: node.versions.active, ...node.versions.known },
    memory: {
      logical: stats.logicalBytes,
      limit: stats.limitBytes,
      used: stats.usedBytes,
      reserved: stats.reservedBytes,
    },
    transactions: stats.transactions,
    connections: node.sessions.size,
    counters: stats.counters,
    members: members(node),
  };
}
