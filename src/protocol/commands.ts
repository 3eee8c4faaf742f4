/**
 * The command table: the one source of what the line protocol knows. The kernel and its twin get their names, arities
 * and texts from here (as a blob of bytes), and so do HELP, the CLI's completion and hints, and the README's table.
 *
 * Invariants: codes and message numbers are stable within a version and mirrored in assembly/ (a test compares them).
 */

/** How a command is carried out. */
export const CommandClass = {
  /** Goes through the log. */
  write: 1,
  /** Needs a read barrier (ReadIndex), or a place in an entry. */
  read: 2,
  /** Its reply is known at once. */
  constant: 3,
  /** Waits until the connection has no unanswered command, then is carried out alone. */
  barrier: 4,
} as const;
export type CommandClass = (typeof CommandClass)[keyof typeof CommandClass];

export interface Command {
  readonly code: number;
  /** Upper case, at most 8 bytes. */
  readonly name: string;
  readonly class: CommandClass;
  /** Arguments after the name; `max` 0xffff: as many as fit in a line. */
  readonly min: number;
  readonly max: number;
  /** May be used between BEGIN and COMMIT. */
  readonly inTransaction: boolean;
  /** Arguments as shown to people. */
  readonly usage: string;
  /** One sentence. */
  readonly summary: string;
  /** The forms of its reply. */
  readonly replies: string;
}

const many = 0xffff;
const { write, read, constant, barrier } = CommandClass;

export const commands: readonly Command[] = [
  {
    code: 1,
    name: 'PING',
    class: constant,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Answers PONG, from this node alone.',
    replies: 'PONG',
  },
  {
    code: 2,
    name: 'SET',
    class: write,
    min: 2,
    max: 5,
    inTransaction: true,
    usage: 'key value [EX s|PX ms] [NX|XX]',
    summary: 'Sets a key, for good or for a time; with NX only if it is absent, with XX only if it exists.',
    replies: 'OK, or (nil) if the condition did not hold',
  },
  {
    code: 3,
    name: 'GET',
    class: read,
    min: 1,
    max: 2,
    inTransaction: true,
    usage: 'key [STALE]',
    summary: 'Reads a key; with STALE as this node has it now, which may be old, even without a leader.',
    replies: '"value", or (nil); with STALE {"revision":41,"value":"..."}, null for no such key',
  },
  {
    code: 4,
    name: 'DEL',
    class: write,
    min: 1,
    max: many,
    inTransaction: true,
    usage: 'key [key ...]',
    summary: 'Deletes keys, all in one step.',
    replies: '(integer) how many there were',
  },
  {
    code: 5,
    name: 'EXISTS',
    class: read,
    min: 1,
    max: many,
    inTransaction: true,
    usage: 'key [key ...]',
    summary: 'Counts which of the keys exist.',
    replies: '(integer) how many',
  },
  {
    code: 6,
    name: 'MGET',
    class: read,
    min: 1,
    max: many,
    inTransaction: true,
    usage: 'key [key ...]',
    summary: 'Reads several keys at one moment.',
    replies: '["value",null], null for no such key',
  },
  {
    code: 7,
    name: 'INCR',
    class: write,
    min: 1,
    max: 2,
    inTransaction: true,
    usage: 'key [by]',
    summary: 'Adds to a 64-bit integer; an absent key counts as 0, a deadline stays.',
    replies: '(integer) the new value',
  },
  {
    code: 8,
    name: 'CAS',
    class: write,
    min: 3,
    max: 3,
    inTransaction: true,
    usage: 'key expected new',
    summary: 'Sets a key if it exists and has the expected value; a deadline stays.',
    replies: 'OK, or (nil) if not',
  },
  {
    code: 9,
    name: 'KEYS',
    class: barrier,
    min: 0,
    max: 3,
    inTransaction: false,
    usage: '[prefix] [LIMIT n]',
    summary: 'Lists keys with a prefix, sorted by byte, 1,000 unless LIMIT says otherwise.',
    replies: '["key", ...]',
  },
  {
    code: 10,
    name: 'COUNT',
    class: read,
    min: 0,
    max: 0,
    inTransaction: false,
    usage: '',
    summary: 'Counts all keys.',
    replies: '(integer) how many',
  },
  {
    code: 11,
    name: 'BEGIN',
    class: barrier,
    min: 0,
    max: 0,
    inTransaction: false,
    usage: '',
    summary: 'Begins a transaction: reads see this moment, writes wait for COMMIT.',
    replies: 'OK',
  },
  {
    code: 12,
    name: 'COMMIT',
    class: write,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Makes all writes of the transaction, or none.',
    replies: 'OK, or ERR conflict if a key it depended on has changed',
  },
  {
    code: 13,
    name: 'ROLLBACK',
    class: constant,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Drops the transaction.',
    replies: 'OK',
  },
  {
    code: 14,
    name: 'STATUS',
    class: barrier,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Tells how this node is, leader or not.',
    replies: '{"id":1,"role":"leader", ...}',
  },
  {
    code: 15,
    name: 'MEMBERS',
    class: barrier,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Lists the members of the cluster.',
    replies: '[{"id":1,"address":"127.0.0.1:8080","voter":true}, ...]',
  },
  {
    code: 16,
    name: 'HELP',
    class: constant,
    min: 0,
    max: 1,
    inTransaction: true,
    usage: '[command]',
    summary: 'Lists the commands, or explains one.',
    replies: '["line", ...]',
  },
  {
    code: 17,
    name: 'QUIT',
    class: barrier,
    min: 0,
    max: 0,
    inTransaction: true,
    usage: '',
    summary: 'Answers OK, then closes the connection.',
    replies: 'OK',
  },
  {
    code: 18,
    name: 'TTL',
    class: read,
    min: 1,
    max: 1,
    inTransaction: true,
    usage: 'key',
    summary: 'Tells how long a key has to live, in seconds, rounded up.',
    replies: '(integer) seconds; -1 if it has no deadline, -2 if there is no such key',
  },
  {
    code: 19,
    name: 'PTTL',
    class: read,
    min: 1,
    max: 1,
    inTransaction: true,
    usage: 'key',
    summary: 'Tells how long a key has to live, in milliseconds.',
    replies: '(integer) milliseconds; -1 if it has no deadline, -2 if there is no such key',
  },
  {
    code: 20,
    name: 'PERSIST',
    class: write,
    min: 1,
    max: 1,
    inTransaction: true,
    usage: 'key',
    summary: 'Takes away the deadline of a key.',
    replies: '(integer) 1, or 0 if it has none or there is no such key',
  },
  {
    code: 21,
    name: 'SESSION',
    class: write,
    min: 0,
    max: 1,
    inTransaction: false,
    usage: '[n]',
    summary: 'Registers a session, whose writes can be sent again with SEQ, or goes on with one on this connection.',
    replies: '(integer) its number; with n OK, or ERR session if there is none of that number (any more)',
  },
  {
    code: 22,
    name: 'SEQ',
    class: write,
    min: 2,
    max: many,
    inTransaction: true,
    usage: 'n [FROM m] command ...',
    summary: 'Makes a write or COMMIT happen once, however often it is sent; FROM: the lowest number still unanswered.',
    replies: 'what the command replied the first time',
  },
];

/** In messages: \x01 stands for a word of the client's as a JSON string (at most 64 bytes of it, then ...), \x02 for a decimal number. */
export const messages = {
  ok: 'OK',
  nil: '(nil)',
  pong: 'PONG',
  emptyLine: 'ERR syntax empty line; a line is one command, HELP lists them',
  unknownCommand: 'ERR syntax unknown command \x01; HELP lists the commands',
  unterminatedQuote: 'ERR syntax a word that begins with a double quote must end with one',
  afterQuote: 'ERR syntax a closing quote must be followed by a blank or the end of the line',
  badEscape: 'ERR syntax bad escape in a quoted word; use \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX',
  cutLine: 'ERR syntax the last line has no newline at its end, so it was not run',
  keyTooLong: 'ERR too-large key of \x02 bytes; the limit is {maxKey}',
  valueTooLong: 'ERR too-large value of \x02 bytes; the limit is {maxValue}',
  lineTooLong: 'ERR too-large line of more than {maxLine} bytes; closing the connection',
  replyTooLong: 'ERR too-large reply of more than {maxReply} bytes; ask for less at a time',
  transactionTooLarge:
    'ERR too-large transaction of more than {maxTransaction} bytes; this command was not added to it',
  setOption: 'ERR syntax SET takes EX seconds or PX milliseconds, and NX or XX, once each after the value, not \x01',
  setTime: 'ERR syntax SET takes EX 1 to 10000000000 seconds or PX 1 to 10000000000000 milliseconds, not \x01',
  getOption: 'ERR syntax GET takes STALE after the key, not \x01',
  byNotInteger: 'ERR not-an-integer INCR takes a 64-bit integer, not \x01',
  keysLimit: 'ERR syntax KEYS takes LIMIT and a number from 1 to 1000000 after the prefix, not \x01',
  notInteger: 'ERR not-an-integer the value of the key is not a 64-bit integer',
  overflow: 'ERR overflow the result does not fit in 64 bits; the value is unchanged',
  noTransaction: 'ERR no-transaction \x01 without BEGIN',
  inTransaction: 'ERR in-transaction a transaction is open already; COMMIT or ROLLBACK it first',
  notInTransaction: 'ERR in-transaction \x01 cannot be used between BEGIN and COMMIT',
  conflict: 'ERR conflict key \x01 has changed since BEGIN; nothing was written',
  transactionExpired: 'ERR aborted the transaction was idle for too long and was rolled back; begin it again',
  outOfMemory: 'ERR out-of-memory the memory limit is reached; delete keys first',
  noLeader: 'ERR no-leader no leader answered within the time-out; nothing was done',
  readTimeout: 'ERR timeout no majority answered within the time-out; nothing was done',
  writeTimeout: 'UNKNOWN timeout no majority answered within the time-out; the write may still take effect',
  stopping: 'ERR stopping this node is stopping; nothing was done',
  /** Then the value, and a closing brace. */
  staleReply: '{"revision":\x02,"value":',
  stoppingUnknown: 'UNKNOWN stopping this node is stopping; the write may still take effect',
  readLost: 'ERR lost this node has caught up by a snapshot; nothing was done, ask again',
  writeLost: 'UNKNOWN lost this node has caught up by a snapshot; the write was decided, its answer is lost',
  diskFull:
    'ERR disk-full the disks of a majority have no room for writes; nothing was written: free some, reads go on',
  sessionNumber: 'ERR syntax SESSION takes the number of a session, not \x01',
  seqNumber: 'ERR syntax SEQ takes a number from 1 on, and FROM one that is not above it, not \x01',
  seqCommand: 'ERR syntax SEQ stands before SET, DEL, INCR, CAS, PERSIST or COMMIT, not \x01',
  seqInTransaction: 'ERR in-transaction between BEGIN and COMMIT only the COMMIT takes SEQ',
  noSession: 'ERR session SEQ needs a session on this connection: SESSION begins one, SESSION n goes on with it',
  sessionUnknown: 'ERR session number \x02 is unknown or has expired; nothing was done now',
  sessionAnswered: 'ERR session sequence \x02 was said to be answered, and is forgotten; nothing was done now',
  sessionWindow:
    'ERR session sequence \x02 is 256 or more above the lowest unanswered one, see FROM; nothing was done now',
  fenced: 'ERR aborted the transaction was gone before its COMMIT; nothing was written, begin it again',
} as const;
export type MessageName = keyof typeof messages;
export const messageNames = Object.keys(messages) as MessageName[];

/** `ERR syntax usage: SET key value [NX|XX]`: what a wrong number of arguments gets. */
export function usageError(command: Command): string {
  return `ERR syntax usage: ${signature(command)}`;
}

/** `SET key value [NX|XX]`. */
export function signature(command: Command): string {
  return command.usage === '' ? command.name : `${command.name} ${command.usage}`;
}

/** The lines of `HELP command`, or of `HELP`. */
export function helpLines(command?: Command): string[] {
  if (command) return [signature(command), command.summary, `Replies: ${command.replies}`];
  const width = Math.max(...commands.map((c) => signature(c).length));
  return commands.map((c) => `${signature(c).padEnd(width)}  ${c.summary}`);
}
