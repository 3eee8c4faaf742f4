/**
 * Expiry: which records fall due, in which order, and how many have.
 *
 * A record with a deadline is *absent* as soon as log time has reached it: whoever looks it up compares (`record.ts`,
 * `expired`). It is *removed* later, a bounded number in each entry (`apply.ts`). For that there is an index of the newest
 * records that have a deadline: a treap (Aragon and Seidel, "Randomized search trees") whose nodes stand in front of the
 * records, in their blocks, so that it takes no memory of its own and nothing about it can fail.
 *
 *     node, 16 bytes in front of a record with a deadline
 *      0  u32  left: the records before this one, or 0
 *      4  u32  right: the records after it, or 0
 *      8  u32  users' records in this subtree
 *     12  u32  NODE_MARK: this block begins with a node (a record without one has its key's length here, which is never that)
 *
 *     state, at EXPIRY_STATE
 *      0  u32  root, or 0
 *      4  u32  of the last split: what is before the pivot
 *      8  u32  of the last split: the rest
 *     12  u32  records added and taken out since `expiryWork` was asked
 *
 * Order: deadline, revision, key, and of two equal keys the user's first. It is total and depends on the records alone, so
 * records vanish in the same order on every replica, also on one that got them from a snapshot. The counts say how many
 * users' keys are absent and not yet removed without a walk over them. Readers on other threads never look at nodes.
 *
 * Addresses are in the heap order too: whoever moves a record takes it out of the index before, and adds it again behind.
 */
import { EXPIRY_STATE } from './layout';
import { check, FAIL_EXPIRY } from './memory';
import { compareKeys, expired, NODE_BYTES, recDeadline, recRevision, recSystem } from './record';

export const NODE_LEFT: u32 = 0;
export const NODE_RIGHT: u32 = 4;
export const NODE_USERS: u32 = 8;
export const NODE_MARKED: u32 = 12;
export const NODE_MARK: u32 = 0xffffffff;

export const ES_ROOT: u32 = 0;
export const ES_BEFORE: u32 = 4;
export const ES_REST: u32 = 8;
export const ES_WORK: u32 = 12;

// @ts-ignore: decorator
@inline
function nodeOf(record: u32): u32 {
  return record - NODE_BYTES;
}

/** The heap order of the treap: addresses, well mixed. */
// @ts-ignore: decorator
@inline
function priority(record: u32): u32 {
  let h = record;
  h = (h ^ (h >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  return h ^ (h >> 16);
}

function before(a: u32, b: u32): bool {
  const deadlineA = recDeadline(a);
  const deadlineB = recDeadline(b);
  if (deadlineA != deadlineB) return deadlineA < deadlineB;
  if (recRevision(a) != recRevision(b)) return recRevision(a) < recRevision(b);
  const order = compareKeys(a, b);
  return order != 0 ? order < 0 : recSystem(b) && !recSystem(a);
}

// @ts-ignore: decorator
@inline
function users(node: u32): u32 {
  return node == 0 ? 0 : load<u32>(nodeOf(node), NODE_USERS);
}

// @ts-ignore: decorator
@inline
function ownUsers(record: u32): u32 {
  return recSystem(record) ? 0 : 1;
}

function recount(node: u32): void {
  const t = nodeOf(node);
  store<u32>(t, users(load<u32>(t, NODE_LEFT)) + users(load<u32>(t, NODE_RIGHT)) + ownUsers(node), NODE_USERS);
}

/** Forgets all records, without looking at one. */
export function expiryReset(): void {
  store<u32>(EXPIRY_STATE, 0, ES_ROOT);
  store<u32>(EXPIRY_STATE, 0, ES_WORK);
}

/** How often the index has been changed since this was asked before: what that cost counts as work of a slice. */
export function expiryWork(): u32 {
  const work = load<u32>(EXPIRY_STATE, ES_WORK);
  store<u32>(EXPIRY_STATE, 0, ES_WORK);
  return work;
}

// @ts-ignore: decorator
@inline
function countWork(): void {
  store<u32>(EXPIRY_STATE, load<u32>(EXPIRY_STATE, ES_WORK) + 1, ES_WORK);
}

/** Puts a record with a deadline into the index. */
export function expiryAdd(record: u32): void {
  countWork();
  const mine = priority(record);
  const own = ownUsers(record);
  let link = EXPIRY_STATE + ES_ROOT;
  let node = load<u32>(link);
  while (node != 0 && priority(node) >= mine) {
    const t = nodeOf(node);
    store<u32>(t, load<u32>(t, NODE_USERS) + own, NODE_USERS);
    link = t + (before(record, node) ? NODE_LEFT : NODE_RIGHT);
    node = load<u32>(link);
  }
  split(node, record);
  const t = nodeOf(record);
  store<u32>(t, NODE_MARK, NODE_MARKED);
  store<u32>(t, load<u32>(EXPIRY_STATE, ES_BEFORE), NODE_LEFT);
  store<u32>(t, load<u32>(EXPIRY_STATE, ES_REST), NODE_RIGHT);
  recount(record);
  store<u32>(link, record);
}

/** Splits a subtree into what is before `pivot` and the rest. */
function split(node: u32, pivot: u32): void {
  if (node == 0) {
    store<u32>(EXPIRY_STATE, 0, ES_BEFORE);
    store<u32>(EXPIRY_STATE, 0, ES_REST);
    return;
  }
  const t = nodeOf(node);
  if (before(node, pivot)) {
    split(load<u32>(t, NODE_RIGHT), pivot);
    store<u32>(t, load<u32>(EXPIRY_STATE, ES_BEFORE), NODE_RIGHT);
    store<u32>(EXPIRY_STATE, node, ES_BEFORE);
  } else {
    split(load<u32>(t, NODE_LEFT), pivot);
    store<u32>(t, load<u32>(EXPIRY_STATE, ES_REST), NODE_LEFT);
    store<u32>(EXPIRY_STATE, node, ES_REST);
  }
  recount(node);
}

/** Takes a record out of the index. */
export function expiryRemove(record: u32): void {
  countWork();
  const own = ownUsers(record);
  let link = EXPIRY_STATE + ES_ROOT;
  let node = load<u32>(link);
  while (node != record) {
    check(node != 0, FAIL_EXPIRY);
    const t = nodeOf(node);
    store<u32>(t, load<u32>(t, NODE_USERS) - own, NODE_USERS);
    link = t + (before(record, node) ? NODE_LEFT : NODE_RIGHT);
    node = load<u32>(link);
  }
  const t = nodeOf(record);
  join(link, load<u32>(t, NODE_LEFT), load<u32>(t, NODE_RIGHT));
}

/** Makes `link` point to two subtrees as one; all of the first is before all of the second. */
function join(to: u32, first: u32, second: u32): void {
  let link = to;
  let a = first;
  let b = second;
  while (a != 0 && b != 0) {
    if (priority(a) >= priority(b)) {
      const t = nodeOf(a);
      store<u32>(link, a);
      store<u32>(t, load<u32>(t, NODE_USERS) + users(b), NODE_USERS);
      link = t + NODE_RIGHT;
      a = load<u32>(link);
    } else {
      const t = nodeOf(b);
      store<u32>(link, b);
      store<u32>(t, load<u32>(t, NODE_USERS) + users(a), NODE_USERS);
      link = t + NODE_LEFT;
      b = load<u32>(link);
    }
  }
  store<u32>(link, a | b);
}

/** The record that falls due first, or 0. */
export function expiryFirst(): u32 {
  let node = load<u32>(EXPIRY_STATE, ES_ROOT);
  if (node == 0) return 0;
  for (let left = load<u32>(nodeOf(node), NODE_LEFT); left != 0; left = load<u32>(nodeOf(node), NODE_LEFT)) node = left;
  return node;
}

/** How many users' records have expired by `time` and are not removed. */
export function expiredUsers(time: u64): u32 {
  let node = load<u32>(EXPIRY_STATE, ES_ROOT);
  let n: u32 = 0;
  while (node != 0) {
    const t = nodeOf(node);
    if (expired(node, time)) {
      n += users(load<u32>(t, NODE_LEFT)) + ownUsers(node);
      node = load<u32>(t, NODE_RIGHT);
    } else {
      node = load<u32>(t, NODE_LEFT);
    }
  }
  return n;
}
