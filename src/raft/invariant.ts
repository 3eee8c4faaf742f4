/** A rule of Raft that must never be broken was: a bug, a disk that lied, or two members with one id. The node must stop. */
export class InvariantError extends Error {
  readonly code = 'raft-invariant';
}

/** Reports a broken invariant. `text` says what is wrong, and what would be right. */
export function broken(text: string): never {
  throw new InvariantError(`raft invariant: ${text}`);
}
