/** Serves the cluster exchange (src/protocol/cluster.ts): one request a connection, answered by the leader, or with where it is. */
import type { Env } from '../env/env.js';
import type { Founding } from '../log/types.js';
import {
  type ClusterError,
  ClusterFormatError,
  type ClusterRequest,
  type ClusterStatus,
  type JoinAnswer,
  type JoinRequest,
  type ListedMember,
  type MemberKind,
  parseRequest,
  tryStatus,
} from '../protocol/cluster.js';
import type { Raft } from '../raft/raft.js';
import type { NodeId } from '../raft/types.js';
import { askNode } from './ask.js';
import { addGoal, type Changes, type Goal, joinGoal, removeGoal } from './changes.js';
import { type HandoverHost, handOver } from './handover.js';
import { findMember, Kind, type Member, takesPart } from './members.js';
import type { Roster } from './roster.js';
import type { Versions } from './versions.js';

/** Raft gives up a transfer after an election time-out; one that has not led to another leader by then has failed. */
const transferMs = 3_000;
/** Who asks to join has so long to answer the leader. */
const findMs = 2_000;
/** The leader dials so many at once that ask to join: anyone can ask, and name any address. */
const mostSought = 16;

export interface AdminHost extends HandoverHost {
  readonly address: string;
  readonly env: Pick<Env, 'network' | 'timers'>;
  /** Identity of this node's data folder. */
  readonly identity: Uint8Array;
  readonly roster: Roster;
  readonly changes: Changes;
  /** Addresses at which whoever asks to join is looked for now. */
  readonly sought: Set<string>;
  readonly versions: Versions;
  readonly founding: Founding | undefined;
  readonly raft: Raft | undefined;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Answers a request's line, now or later, with one line, without its newline. */
export function answerRequest(host: AdminHost, line: string, answer: (line: string) => void): void {
  const reply = (value: object): void => answer(JSON.stringify(value));
  let request: ClusterRequest;
  try {
    request = parseRequest(line);
  } catch (error) {
    if (!(error instanceof ClusterFormatError)) throw error;
    reply(failure(`the request makes no sense: ${error.message}`, null, false));
    return;
  }
  const { raft } = host;
  if (request.request === 'status') reply(status(host));
  else if (raft?.role !== 'leader') reply(elsewhere(host));
  else if (request.request === 'join') join(host, raft, request, reply);
  else if (request.request === 'transfer') void transfer(host, raft, request.to ?? 0, reply);
  else change(host, raft, request, reply);
}

function failure(error: string, leader: string | null, again: boolean): ClusterError {
  return { error, leader, again };
}

/** Whoever asks to join has to be found at its address: it would be of no use elsewhere, and nobody takes the place of one who is there. */
function join(host: AdminHost, raft: Raft, request: JoinRequest, reply: (value: object) => void): void {
  const { id, address, identity } = request;
  const verdict = goalOf(host, raft, request)(host.roster.members);
  if (raft.membership.committed && verdict.kind === 'refused' && !verdict.again) {
    reply(failure(verdict.error, null, false));
    return;
  }
  const { sought } = host;
  if (sought.has(address) || sought.size >= mostSought) {
    const busy = sought.has(address) ? `is looking for node ${id} at ${address} already` : 'is looking for others';
    reply(failure(`the leader ${busy}, ask again`, null, true));
    return;
  }
  sought.add(address);
  askNode(host.env, address, { request: 'status' }, findMs, (answer) => {
    sought.delete(address);
    const found = answer.kind === 'answer' ? tryStatus(answer.fields) : undefined;
    if (found?.id === id && found.folder === identity) {
      const { active } = host.versions;
      if (active <= found.newestVersion && active >= found.oldestVersion) change(host, raft, request, reply);
      else
        reply(
          failure(`the cluster is at version ${active}, which the program of node ${id} does not know`, null, false),
        );
      return;
    }
    const reason = answer.kind === 'unreachable' ? answer.reason : `${address} is another node`;
    reply(failure(`node ${id} is not found at its address by the leader: ${reason}`, null, true));
  });
}

/** This node cannot do it: where to ask. */
function elsewhere({ id, raft, roster }: AdminHost): ClusterError {
  if (!raft) return failure(`node ${id} belongs to no cluster yet`, null, true);
  const leader = raft.leader === id ? undefined : findMember(roster.members, raft.leader);
  if (!leader) return failure(`node ${id} does not lead, and knows of no leader`, null, true);
  return failure(`node ${id} does not lead, node ${leader.id} does`, leader.address, true);
}

type Change = Exclude<ClusterRequest, { readonly request: 'status' | 'transfer' }>;

function change(host: AdminHost, raft: Raft, request: Change, reply: (value: object) => void): void {
  host.changes.add(goalOf(host, raft, request), (outcome) => {
    if (outcome.ok) reply(answerTo(host, request));
    else if (host.raft?.role !== 'leader' && outcome.again) reply(elsewhere(host));
    else reply(failure(outcome.error, null, outcome.again));
  });
  host.nudge();
}

/** What was asked for is so. Of `add` it says what became of the node, which may have been a member all along. */
function answerTo(host: AdminHost, { request, id }: Change): object {
  if (request === 'join') return joinAnswer(host);
  if (request === 'remove') return { done: true };
  const member = findMember(host.roster.members, id);
  return { done: true, kind: kindNames[member && takesPart(member) ? member.kind : Kind.invited] };
}

function goalOf({ id: own }: AdminHost, raft: Raft, request: Change): Goal {
  const { id } = request;
  if (request.request === 'remove') return removeGoal(raft, own, id);
  if (request.request === 'add') return addGoal(id, request.address);
  return joinGoal(raft, own, id, request.address, Uint8Array.from(Buffer.from(request.identity, 'hex')));
}

async function transfer(host: AdminHost, raft: Raft, to: NodeId, reply: (value: object) => void): Promise<void> {
  if (to === host.id) {
    reply({ leader: host.id });
    return;
  }
  const outcome = await handOver(host, raft, to, transferMs);
  reply(outcome.ok ? { leader: outcome.leader } : failure(outcome.error, null, false));
}

function joinAnswer({ id, address, founding, roster }: AdminHost): JoinAnswer {
  const { clusterId, members } = founding!;
  const here = (member: Member) => ({ id: member.id, address: member.id === id ? address : member.address });
  return {
    cluster: hex(clusterId),
    founding: members.map((member) => ({ id: member.id, address: member.address, identity: hex(member.identity) })),
    members: roster.members.filter(takesPart).map(here),
  };
}

const kindNames: Readonly<Record<Kind, MemberKind>> = {
  [Kind.voter]: 'voter',
  [Kind.stayingVoter]: 'voter',
  [Kind.outgoing]: 'outgoing',
  [Kind.replaced]: 'outgoing',
  [Kind.learner]: 'learner',
  [Kind.invited]: 'invited',
  [Kind.removed]: 'removed',
};

function status({ id, identity, address, founding, raft, roster, versions }: AdminHost): ClusterStatus {
  const list = (member: Member): ListedMember => ({
    id: member.id,
    address: member.id === id && takesPart(member) ? address : member.address,
    kind: kindNames[member.kind],
    identity: hex(member.identity),
  });
  return {
    id,
    folder: hex(identity),
    cluster: founding ? hex(founding.clusterId) : null,
    leader: raft?.leader || null,
    term: raft?.term ?? 0,
    asOf: roster.asOf,
    committed: raft?.membership.committed ?? false,
    version: versions.active,
    oldestVersion: versions.known.oldest,
    newestVersion: versions.known.newest,
    members: roster.members.map(list),
  };
}
