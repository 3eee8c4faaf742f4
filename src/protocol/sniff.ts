/**
 * What a new connection speaks, told from its first bytes.
 *
 * One port serves clients and peers. A connection that is neither is answered with one line and closed, and nothing of it
 * is ever run: a browser can be made to send `POST / HTTP/1.1`, headers and then lines of its page's choice to a port of
 * its own machine, and those lines would be commands.
 *
 * Invariants: bytes that begin a valid command are never rejected; the verdict does not depend on how the bytes were cut
 * into chunks; `more` is never the verdict on more than SNIFF_BYTES.
 */
import { CLUSTER_LINE_BYTES, CLUSTER_PREFIX } from './cluster.js';
import { commands } from './commands.js';

/** The first bytes of a peer's connection: no command can begin with 0xd1. */
export const PEER_MAGIC: readonly number[] = [0xd1, 0x44, 0x53, 0x54];

/** A verdict is reached within as many bytes. */
export const SNIFF_BYTES = 8192;

export type Sniffed =
  /** Another node: the bytes begin with PEER_MAGIC. */
  | { readonly kind: 'peer' }
  /** The line protocol (or nonsense that its parser answers line by line). */
  | { readonly kind: 'line' }
  /** The cluster exchange: `line` is its request, without the newline. */
  | { readonly kind: 'cluster'; readonly line: string }
  /** Cannot be told yet: ask again with more bytes, these included. */
  | { readonly kind: 'more' }
  /** Something else: send `reply` and a newline, close, and run nothing. */
  | { readonly kind: 'reject'; readonly reply: string };

const example = 'send one command a line, for example: GET key';
const peer: Sniffed = { kind: 'peer' };
const line: Sniffed = { kind: 'line' };
const more: Sniffed = { kind: 'more' };
const tls = reject('this is a TLS hello, but TLS is not spoken here; connect without it');
const resp = reject(`RESP is not spoken here yet; ${example}`);
const http = reject(`this is HTTP, which is not spoken here; ${example}`);
const clusterTooLong = reject(`a request of the cluster exchange has at most ${CLUSTER_LINE_BYTES} bytes`);
const binary = reject(`these bytes are not text; ${example}`);

function reject(what: string): Sniffed {
  return { kind: 'reject', reply: `ERR protocol ${what}` };
}

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const TLS_HANDSHAKE = 0x16;
const TLS_MAJOR = 0x03;
const STAR = 0x2a;
const AT = 0x40;

/**
 * Tells what a connection speaks from its first bytes, all that have come so far. Ask on each chunk until the verdict is
 * not `more`.
 */
export function sniff(bytes: Uint8Array): Sniffed {
  const first = bytes[0];
  if (first === undefined) return more;
  if (first === STAR) return resp;
  if (first === PEER_MAGIC[0]) return sniffPeer(bytes);
  if (first === AT) return sniffCluster(bytes);
  if (first === TLS_HANDSHAKE) {
    if (bytes.length === 1) return more;
    return bytes[1] === TLS_MAJOR ? tls : binary;
  }
  return sniffText(bytes);
}

function sniffPeer(bytes: Uint8Array): Sniffed {
  const length = Math.min(bytes.length, PEER_MAGIC.length);
  for (let at = 0; at < length; at++) {
    if (bytes[at] !== PEER_MAGIC[at]) return binary;
  }
  return length === PEER_MAGIC.length ? peer : more;
}

/** No command begins with `@`; what begins so and is not the cluster exchange is a line like any other. */
function sniffCluster(bytes: Uint8Array): Sniffed {
  const length = Math.min(bytes.length, CLUSTER_PREFIX.length);
  for (let at = 0; at < length; at++) if (bytes[at] !== CLUSTER_PREFIX.charCodeAt(at)) return sniffText(bytes);
  const end = bytes.subarray(0, CLUSTER_LINE_BYTES).indexOf(LF);
  if (end >= 0) return { kind: 'cluster', line: new TextDecoder().decode(bytes.subarray(0, end)) };
  return bytes.length < CLUSTER_LINE_BYTES ? more : clusterTooLong;
}

function sniffText(bytes: Uint8Array): Sniffed {
  const end = Math.min(bytes.length, SNIFF_BYTES);
  let at = 0;
  while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
  const from = at;
  while (at < end && !endsWord(bytes[at]!)) {
    if (bytes[at]! < SPACE || bytes[at]! >= 0x7f) return binary;
    at++;
  }
  // A first word as long as this is no command, but text: its parser says what is wrong with it.
  if (at === end) return end === SNIFF_BYTES ? line : more;
  if (from > 0 || bytes[at] !== SPACE) return line;
  const method = String.fromCharCode(...bytes.subarray(0, at));
  return couldBeMethod(method) ? sniffHttp(bytes.subarray(0, end), at + 1, method) : line;
}

function endsWord(byte: number): boolean {
  return byte === SPACE || byte === TAB || byte === LF || byte === CR;
}

/**
 * A method of HTTP is in upper case (RFC 9110 §9.1). A command that takes two arguments is a command, whatever they are; but the
 * second one of GET is STALE, never a version of HTTP.
 */
function couldBeMethod(word: string): boolean {
  if (!/^[A-Z-]{1,32}$/.test(word)) return false;
  if (word === 'GET') return true;
  return !commands.some((command) => command.name === word && command.min <= 2 && command.max >= 2);
}

/** The rest of `method SP path SP HTTP/1.x`, `CR` or not, `LF` (RFC 9112 §3): from `at` on. */
function sniffHttp(bytes: Uint8Array, at: number, method: string): Sniffed {
  const space = bytes.indexOf(SPACE, at);
  const path = bytes.subarray(at, space < 0 ? bytes.length : space);
  if (space === at || path.some((byte) => endsWord(byte))) return line;
  const verdict = space < 0 ? more : sniffVersion(bytes.subarray(space + 1));
  return verdict === more && bytes.length === SNIFF_BYTES ? tooLong(method) : verdict;
}

function sniffVersion(bytes: Uint8Array): Sniffed {
  const text = String.fromCharCode(...bytes.subarray(0, 10));
  if (/^HTTP\/1\.[01]\r?\n/.test(text)) return http;
  return 'HTTP/1.0\r\n'.startsWith(text) || 'HTTP/1.1\r\n'.startsWith(text) ? more : line;
}

/**
 * A first line that may yet turn out to be HTTP, and goes on and on. GET may be a command with a long key; and if it is not,
 * no browser sends a body behind it. Any other method is no command.
 */
function tooLong(method: string): Sniffed {
  return commands.some((command) => command.name === method) ? line : http;
}
