/**
 * The cluster exchange: how a node that joins, and `distributed cluster`, talk to a node, on the port that serves all else.
 *
 * One line `@cluster {json}`, one line of JSON in answer, then the connection is closed. No command begins with `@`. Only the
 * leader changes anything: another node answers with its address, where the asker goes next.
 *
 * ```
 * {"request":"join","id":2,"address":"127.0.0.1:8081","identity":"<32 hexadecimal digits>"}
 * {"request":"add","id":2,"address":"127.0.0.1:8081"}    {"request":"remove","id":2}
 * {"request":"transfer"}   {"request":"transfer","to":2}   {"request":"status"}
 *
 * {"done":true}   of add: {"done":true,"kind":"invited"}, or what it is by now
 * {"error":"…","leader":"host:port" or null,"again":true or false}
 * ```
 *
 * `again`: nothing stands against asking again (an election is under way, another change takes long). The longer answers
 * are drawn at the types below. All fields are checked on both sides, for anybody can connect.
 */

/** How such a connection begins. */
export const CLUSTER_PREFIX = '@cluster ';
/** Most bytes of a request's line, with its newline. */
export const CLUSTER_LINE_BYTES = 4_096;
/** Most bytes of an answer's line. */
export const CLUSTER_REPLY_BYTES = 1_048_576;
const MAX_ADDRESS_CHARS = 300;

export interface JoinRequest {
  readonly request: 'join';
  readonly id: number;
  readonly address: string;
  /** Folder identity, 32 hexadecimal digits. */
  readonly identity: string;
}
export type ClusterRequest =
  | JoinRequest
  | { readonly request: 'add'; readonly id: number; readonly address: string }
  | { readonly request: 'remove'; readonly id: number }
  | { readonly request: 'transfer'; readonly to?: number }
  | { readonly request: 'status' };

export interface ClusterError {
  readonly error: string;
  /** Where to ask instead; null: it is not known, or asking elsewhere does not help. */
  readonly leader: string | null;
  readonly again: boolean;
}

/** `outgoing`: it had a vote before the change that is under way. */
export const memberKinds = ['voter', 'outgoing', 'learner', 'invited', 'removed'] as const;
export type MemberKind = (typeof memberKinds)[number];

export interface ListedMember {
  readonly id: number;
  readonly address: string;
  readonly kind: MemberKind;
  /** Folder identity, 32 hexadecimal digits. */
  readonly identity: string;
}

/** The answer to `status`. */
export interface ClusterStatus {
  readonly id: number;
  /** Identity of the data folder of the node that answers, 32 hexadecimal digits. */
  readonly folder: string;
  /** 32 hexadecimal digits; null: none yet. */
  readonly cluster: string | null;
  readonly leader: number | null;
  readonly term: number;
  /** The entry as of which this is the newest membership in the node's log, and whether that is known to be committed. */
  readonly asOf: number;
  readonly committed: boolean;
  /** In force, and what the program of the node that answers knows (src/node/versions.ts). */
  readonly version: number;
  readonly oldestVersion: number;
  readonly newestVersion: number;
  readonly members: readonly ListedMember[];
}

/** The answer to `join`: the cluster's founding record, and who there is now. */
export interface JoinAnswer {
  /** 32 hexadecimal digits. */
  readonly cluster: string;
  readonly founding: readonly { readonly id: number; readonly address: string; readonly identity: string }[];
  readonly members: readonly { readonly id: number; readonly address: string }[];
}

/** A request or an answer that is not what it should be; the message says what is wrong. */
export class ClusterFormatError extends Error {}

/** The line, with its newline. */
export function encodeRequest(request: ClusterRequest): string {
  return `${CLUSTER_PREFIX}${JSON.stringify(request)}\n`;
}

/** Reads the line of a request, with or without its newline. Throws ClusterFormatError. */
export function parseRequest(line: string): ClusterRequest {
  if (!line.startsWith(CLUSTER_PREFIX)) throw new ClusterFormatError(`it does not begin with ${CLUSTER_PREFIX.trim()}`);
  const fields = new Fields(parseJson(line.slice(CLUSTER_PREFIX.length)));
  const request = readRequest(fields);
  fields.end();
  return request;
}

function readRequest(fields: Fields): ClusterRequest {
  const request = fields.text('request', 40);
  switch (request) {
    case 'join':
      return {
        request,
        id: fields.id('id'),
        address: fields.address('address'),
        identity: fields.identity('identity'),
      };
    case 'add':
      return { request, id: fields.id('id'), address: fields.address('address') };
    case 'remove':
      return { request, id: fields.id('id') };
    case 'transfer':
      return fields.has('to') ? { request, to: fields.id('to') } : { request };
    case 'status':
      return { request };
    default:
      throw new ClusterFormatError(`there is no request ${JSON.stringify(request)}`);
  }
}

/** What a node answered: an error, or the fields of the answer, still to be read. Throws ClusterFormatError. */
export function parseReply(line: string): ClusterError | Fields {
  const fields = new Fields(parseJson(line));
  if (!fields.has('error')) return fields;
  const error = fields.text('error', 4_096);
  const leader = fields.isNull('leader') ? null : fields.address('leader');
  return { error, leader, again: fields.boolean('again') };
}

export function readJoinAnswer(fields: Fields): JoinAnswer {
  return {
    cluster: fields.identity('cluster'),
    founding: fields.list('founding', (member) => ({
      id: member.id('id'),
      address: member.address('address'),
      identity: member.identity('identity'),
    })),
    members: fields.list('members', (member) => ({ id: member.id('id'), address: member.address('address') })),
  };
}

export function readStatus(fields: Fields): ClusterStatus {
  return {
    id: fields.id('id'),
    folder: fields.identity('folder'),
    cluster: fields.isNull('cluster') ? null : fields.identity('cluster'),
    leader: fields.isNull('leader') ? null : fields.id('leader'),
    term: fields.integer('term', 0, Number.MAX_SAFE_INTEGER),
    asOf: fields.integer('asOf', 0, Number.MAX_SAFE_INTEGER),
    committed: fields.boolean('committed'),
    version: fields.integer('version', 1, Number.MAX_SAFE_INTEGER),
    oldestVersion: fields.integer('oldestVersion', 1, Number.MAX_SAFE_INTEGER),
    newestVersion: fields.integer('newestVersion', 1, Number.MAX_SAFE_INTEGER),
    members: fields.list('members', (member) => ({
      id: member.id('id'),
      address: member.address('address'),
      kind: member.kind('kind'),
      identity: member.identity('identity'),
    })),
  };
}

/** The same; undefined when it makes no sense. */
export function tryStatus(fields: Fields): ClusterStatus | undefined {
  try {
    return readStatus(fields);
  } catch {
    return undefined;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ClusterFormatError('it is no JSON');
  }
}

/** The fields of one JSON object; each getter throws ClusterFormatError if its field is missing or of another kind. */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new ClusterFormatError('it is no JSON object');
    this.#values = value as Readonly<Record<string, unknown>>;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  isNull(name: string): boolean {
    this.#read.add(name);
    return this.#values[name] === null;
  }

  integer(name: string, min: number, max: number): number {
    const value = this.#get(name);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new ClusterFormatError(`${name} is not an integer from ${min} to ${max}`);
  }

  id(name: string): number {
    return this.integer(name, 1, 65_535);
  }

  boolean(name: string): boolean {
    const value = this.#get(name);
    if (typeof value === 'boolean') return value;
    throw new ClusterFormatError(`${name} is neither true nor false`);
  }

  /** Printable, of 1 to `most` characters. */
  text(name: string, most: number): string {
    const value = this.#get(name);
    if (typeof value === 'string' && value.length > 0 && value.length <= most && !/[\x00-\x1f\x7f]/.test(value))
      return value;
    throw new ClusterFormatError(`${name} is not printable text of 1 to ${most} characters`);
  }

  /** host:port */
  address(name: string): string {
    const value = this.text(name, MAX_ADDRESS_CHARS);
    const port = Number(/^(?:\[[0-9a-fA-F:.%]+\]|[^\s:[\],=]+):(\d{1,5})$/.exec(value)?.[1]);
    if (port >= 1 && port <= 65_535) return value;
    throw new ClusterFormatError(`${name} is not host:port`);
  }

  /** 32 hexadecimal digits in lower case. */
  identity(name: string): string {
    const value = this.text(name, 32);
    if (/^[0-9a-f]{32}$/.test(value)) return value;
    throw new ClusterFormatError(`${name} is not 32 hexadecimal digits`);
  }

  kind(name: string): MemberKind {
    const value = this.#get(name);
    const kind = memberKinds.find((one) => one === value);
    if (kind !== undefined) return kind;
    throw new ClusterFormatError(`${name} is none of ${memberKinds.join(', ')}`);
  }

  list<T>(name: string, read: (item: Fields) => T): T[] {
    const value = this.#get(name);
    if (Array.isArray(value)) return value.map((item) => read(new Fields(item)));
    throw new ClusterFormatError(`${name} is no list`);
  }

  /** Nothing is there that was not asked for. */
  end(): void {
    const extra = Object.keys(this.#values).find((name) => !this.#read.has(name));
    if (extra !== undefined) throw new ClusterFormatError(`there is no field ${JSON.stringify(extra)} in this request`);
  }

  #get(name: string): unknown {
    this.#read.add(name);
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }
}
