/**
 * Words on the way out and replies on the way in, as the line protocol writes them (ARCHITECTURE.md, "The line protocol,
 * exactly"). Keys and values are bytes: a byte that is not part of well-formed UTF-8 travels as `\udc80` … `\udcff`.
 */

/** Bytes, or a string, which stands for its UTF-8. */
export type Word = string | Uint8Array;

/** Blanks separate words, a newline ends the line, and a leading quote changes how a word is read. */
const needsQuotes = /^$|^"|[\s\x00-\x1f\x7f]/;

/** One command as a line, newline included. Throws TypeError for what is no word. */
export function encodeLine(words: readonly Word[]): Buffer {
  const parts: Buffer[] = [];
  for (const word of words) {
    if (parts.length > 0) parts.push(blank);
    if (typeof word === 'string') parts.push(Buffer.from(encodeString(word)));
    else if (word instanceof Uint8Array) parts.push(encodeBytes(word));
    else throw new TypeError(`a key or value is a string or a Uint8Array, not ${kindOf(word)}`);
  }
  parts.push(lineEnd);
  return Buffer.concat(parts);
}

/** For callers without types. */
function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value;
}

const blank = Buffer.from(' ');
const lineEnd = Buffer.from('\n');
const quote = Buffer.from('"');

/** A lone surrogate in a JavaScript string is no character: it becomes U+FFFD, as everywhere in Node. */
function encodeString(text: string): string {
  const wellFormed = text.isWellFormed() ? text : text.toWellFormed();
  return needsQuotes.test(wellFormed) ? JSON.stringify(wellFormed) : wellFormed;
}

function encodeBytes(bytes: Uint8Array): Buffer {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const plain = buffer.every((byte) => byte > 0x20 && byte !== 0x7f);
  if (plain && buffer.length > 0 && buffer[0] !== 0x22) return buffer;
  // The server takes raw bytes inside quotes too; only what would end the word or the line must be escaped.
  const escaped = Buffer.from(
    buffer.toString('latin1').replace(/["\\\x00-\x1f]/g, (char) => JSON.stringify(char).slice(1, -1)),
    'latin1',
  );
  return Buffer.concat([quote, escaped, quote]);
}

/** A result of the server's. `ERR` and `UNKNOWN` are no results: see ServerError. */
export type Reply =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'value'; readonly value: Buffer }
  | { readonly kind: 'nil' }
  | { readonly kind: 'integer'; readonly integer: bigint }
  | { readonly kind: 'list'; readonly list: readonly (Buffer | null)[] }
  | { readonly kind: 'json'; readonly json: unknown };

/** An `ERR` (nothing happened) or `UNKNOWN` (it may have, or may still happen) of the server's. */
export class ServerError extends Error {
  override readonly name = 'ServerError';
  readonly code: string;
  /** Whether nothing happened: false for UNKNOWN. */
  readonly definite: boolean;
  constructor(line: string) {
    const [kind, code = '', ...rest] = line.split(' ');
    super(`${code}: ${rest.join(' ')}`);
    this.code = code;
    this.definite = kind === 'ERR';
  }
}

/** Reads one line of reply. Throws ServerError for ERR and UNKNOWN, Error for what is no reply at all. */
export function parseReply(line: string): Reply {
  if (line.startsWith('ERR ') || line.startsWith('UNKNOWN ')) throw new ServerError(line);
  if (line === '(nil)') return { kind: 'nil' };
  const integer = /^\(integer\) (-?\d+)$/.exec(line);
  if (integer) return { kind: 'integer', integer: BigInt(integer[1]!) };
  if (/^[A-Z]+$/.test(line)) return { kind: 'text', text: line };
  const json = parseJson(line);
  if (typeof json === 'string') return { kind: 'value', value: decodeString(json) };
  if (Array.isArray(json) && json.every((item) => item === null || typeof item === 'string'))
    return { kind: 'list', list: json.map((item) => (item === null ? null : decodeString(item))) };
  return { kind: 'json', json };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    throw new Error(`not a reply of the line protocol: ${JSON.stringify(line.slice(0, 64))}`);
  }
}

/** The bytes that a JSON string of the protocol stands for. */
function decodeString(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text);
  const pieces = text.split(/((?<![\ud800-\udbff])[\udc80-\udcff])/);
  return Buffer.concat(
    pieces.map((piece, i) => (i % 2 === 1 ? Buffer.from([piece.charCodeAt(0) & 0xff]) : Buffer.from(piece))),
  );
}
