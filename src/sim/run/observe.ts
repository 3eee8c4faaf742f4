/** Shows the Raft checker what a node does. What the checker finds ends the run, not the node. */
import type { NodeObserver } from '../../node/observer.js';
import type { Entry } from '../../raft/types.js';
import type { EntryMark, RaftChecker } from '../check/raft.js';
import type { SimNode } from '../cluster.js';
import type { Stage } from './stage.js';

/** A record's own checksum, over its header, its payload's checksum among it. */
const CRC_AT = 4;

function mark({ index, term, bytes }: Entry): EntryMark {
  const id = bytes[CRC_AT]! + bytes[CRC_AT + 1]! * 2 ** 8 + bytes[CRC_AT + 2]! * 2 ** 16 + bytes[CRC_AT + 3]! * 2 ** 24;
  return { index, term, id };
}

export function observerFor(node: SimNode, checker: RaftChecker, stage: Stage): NodeObserver {
  const id = stage.folderOf(node.id);
  const watched = (look: () => void): void => {
    try {
      look();
    } catch (error) {
      stage.fail(error as Error);
    }
  };
  let abstains = false;
  return {
    began: (raft, log) => {
      // A read that fails is the node's own affair.
      const [first, last] = [log.firstIndex(), log.lastIndex()];
      const entries = last < first ? [] : log.entries(first, last, Number.POSITIVE_INFINITY);
      watched(() => {
        stage.leaders.delete(node);
        stage.joint.delete(node);
        checker.began(id, entries.map(mark), raft.term, raft.vote, first - 1, raft.abstaining);
        abstains = raft.abstaining;
      });
    },
    ready: (raft, ready) =>
      watched(() => {
        const leads = raft.role === 'leader';
        const { membership, committed } = raft.membership;
        const joint = membership.outgoing.length > 0;
        if (leads) stage.leaders.add(node);
        else stage.leaders.delete(node);
        if (leads && joint) stage.joint.add(node);
        else stage.joint.delete(node);
        if (abstains && !raft.abstaining) {
          abstains = false;
          checker.remembers(id);
          stage.count('repaired');
        }
        if (raft.isVoter && committed && !joint) stage.votes(node);
        const before = checker.lastOf(id);
        checker.appended(id, ready.entries.map(mark), raft.term, leads);
        if (raft.vote === node.id) checker.granted(id, raft.term, id, before);
        for (const message of ready.messages) {
          const { type, term } = message;
          const to = stage.folderOf(message.to);
          if (type === 'vote' && !message.pre) checker.asked(id, term, message.lastIndex, message.lastTerm);
          if (type === 'voted' && message.granted && !message.pre) checker.granted(id, term, to, before);
          // The leader may have lost its folder meanwhile: what is vouched for was shown by the one that led.
          if (type === 'appended' && message.ok)
            checker.vouched(id, checker.leaderOf(term) ?? to, term, message.index, raft.commit);
        }
        const { voters, outgoing } = membership;
        const deciders = joint ? [voters, outgoing] : [voters];
        checker.state(id, { term: raft.term, leads, commit: raft.commit, deciders });
      }),
    received: (message) =>
      watched(() => {
        if (message.type !== 'append') return;
        const { term, prevIndex, prevTerm, entries } = message;
        checker.received(id, term, prevIndex, prevTerm, prevIndex + entries.length);
      }),
    saved: ({ term, vote }) => checker.saved(id, term, vote),
    persisted: (index, term) => watched(() => checker.persisted(id, index, term)),
    installed: (index, term) => watched(() => checker.installed(id, index, term)),
    applied: (store) =>
      watched(() => {
        const { applied, stateHash } = store.stats();
        checker.applied(id, applied, stateHash);
      }),
  };
}
