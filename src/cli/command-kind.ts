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

/** Longer first words are no command; reading no further keeps a line of megabytes cheap. */
const headBytes = 64;
const firstWord = /^[ \t]*(?:"([a-z]+)"|([a-z]+))(?=[ \t\r]|$)[ \t\r]*(.?)/is;

/** The kind of a line without its newline. */
export function kindOf(line: Uint8Array): CommandKind {
  const head = Buffer.from(line.buffer, line.byteOffset, Math.min(line.length, headBytes)).toString('latin1');
  if (/^[ \t\r]*$/.test(head)) return 'constant';
  const match = firstWord.exec(head);
  const kind = kinds.get((match?.[1] ?? match?.[2] ?? '').toUpperCase());
  if (kind === undefined) return 'write';
  // With an argument these are refused as a usage error, and end or begin nothing.
  return Object.values(edges).includes(kind) && match?.[3] !== '' ? 'constant' : kind;
}
