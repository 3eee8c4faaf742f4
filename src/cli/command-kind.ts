/** What the CLI must know of a line before it is answered: whether it may be sent twice, and what it does to a transaction. */
import { CommandClass, commands } from '../protocol/commands.js';

/**
 * `write`: may change something, so it is sent once (also what this version does not know). `read`: sees state, so it
 * belongs to an open transaction. `constant`: answered by the node alone. The others as they are named.
 */
export type CommandKind = 'write' | 'read' | 'constant' | 'begin' | 'commit' | 'rollback' | 'quit';

const edges: Readonly<Record<string, CommandKind>> = {
  BEGIN: 'begin',
  COMMIT: 'commit',
  ROLLBACK: 'rollback',
  QUIT: 'quit',
};

const kinds = new Map<string, CommandKind>(
  commands.map(({ name, class: commandClass }) => {
    const edge = edges[name];
    if (edge) return [name, edge];
    if (commandClass === CommandClass.write) return [name, 'write'];
    return [name, commandClass === CommandClass.read || name === 'KEYS' ? 'read' : 'constant'];
  }),
);

/** What SEQ may stand before; COMMIT too, which is told by its kind. */
const sequenced: ReadonlySet<string> = new Set(['SET', 'DEL', 'INCR', 'CAS', 'PERSIST']);

/** Longer first words are no command; reading no further keeps a line of megabytes cheap. */
const headBytes = 64;
const firstWord = /^[ \t]*(?:"([a-z]+)"|([a-z]+))(?=[ \t\r]|$)[ \t\r]*(.?)/is;

/** A COMMIT with a sequence that the user gave it. */
const sequencedCommit = /^[ \t]*seq[ \t]+\S+[ \t]+(?:from[ \t]+\S+[ \t]+)?commit[ \t\r]*$/i;

function headOf(line: Uint8Array): string {
  return Buffer.from(line.buffer, line.byteOffset, Math.min(line.length, headBytes)).toString('latin1');
}

function nameOf(head: string): string {
  const match = firstWord.exec(head);
  return (match?.[1] ?? match?.[2] ?? '').toUpperCase();
}

/** The user speaks of sessions himself. */
export function isOfSessions(line: Uint8Array): 'SESSION' | 'SEQ' | undefined {
  const name = nameOf(headOf(line));
  return name === 'SESSION' || name === 'SEQ' ? name : undefined;
}

/** A write that may have a sequence, outside a transaction. */
export function takesSequence(line: Uint8Array): boolean {
  return sequenced.has(nameOf(headOf(line)));
}

/** The kind of a line without its newline. */
export function kindOf(line: Uint8Array): CommandKind {
  const head = headOf(line);
  if (/^[ \t\r]*$/.test(head)) return 'constant';
  if (sequencedCommit.test(head)) return 'commit';
  const match = firstWord.exec(head);
  const kind = kinds.get((match?.[1] ?? match?.[2] ?? '').toUpperCase());
  if (kind === undefined) return 'write';
  // With an argument these are refused as a usage error, and end or begin nothing.
  return Object.values(edges).includes(kind) && match?.[3] !== '' ? 'constant' : kind;
}
