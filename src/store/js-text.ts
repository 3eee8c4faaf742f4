/**
 * Words of a line, and texts of replies (ARCHITECTURE.md, "The line protocol, exactly"). A string holds bytes: one latin1
 * character each.
 */
import { type Command, commands, helpLines, type MessageName, messageNames, messages } from '../protocol/commands.js';
import type { StoreLimits } from './store.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Splits a line (without its end) into `words`, quotes and escapes resolved. Returns the name of the first error in it,
 * from the left.
 */
export function splitWords(line: string, words: string[]): MessageName | undefined {
  words.length = 0;
  const end = line.length;
  const tabs = line.includes('\t');
  let at = 0;
  for (;;) {
    while (at < end && isBlank(line.charCodeAt(at))) at++;
    if (at === end) return undefined;
    if (line.charCodeAt(at) === QUOTE) {
      const word = quotedWord(line, at);
      if (word.error) return word.error;
      words.push(word.text);
      at = word.end;
      if (at < end && !isBlank(line.charCodeAt(at))) return 'afterQuote';
    } else {
      const stop = tabs ? nextBlank(line, at) : line.indexOf(' ', at);
      words.push(line.slice(at, stop < 0 ? end : stop));
      if (stop < 0) return undefined;
      at = stop;
    }
  }
}

function isBlank(char: number): boolean {
  return char === 0x20 || char === 0x09;
}

function nextBlank(line: string, from: number): number {
  for (let at = from; at < line.length; at++) if (isBlank(line.charCodeAt(at))) return at;
  return -1;
}

interface QuotedWord {
  readonly text: string;
  /** Where the line goes on, behind the closing quote. */
  readonly end: number;
  readonly error?: MessageName;
}

function failed(error: MessageName): QuotedWord {
  return { text: '', end: 0, error };
}

function quotedWord(line: string, open: number): QuotedWord {
  const close = line.indexOf('"', open + 1);
  const text = line.slice(open + 1, close < 0 ? line.length : close);
  if (text.includes('\\')) return escapedWord(line, open);
  return close < 0 ? failed('unterminatedQuote') : { text, end: close + 1 };
}

function escapedWord(line: string, open: number): QuotedWord {
  const parts: string[] = [];
  let at = open + 1;
  let plain = at;
  for (; at < line.length; ) {
    const char = line.charCodeAt(at);
    if (char === QUOTE) {
      parts.push(line.slice(plain, at));
      return { text: parts.join(''), end: at + 1 };
    }
    if (char !== BACKSLASH) {
      at++;
      continue;
    }
    parts.push(line.slice(plain, at));
    if (at + 1 === line.length) break;
    const length = escapeLength(line, at);
    if (length === 0) return failed('badEscape');
    parts.push(resolveEscape(line, at, length));
    at += length;
    plain = at;
  }
  return failed('unterminatedQuote');
}

const simpleEscapes = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

/** Characters of the escape at `at`: 2, 6, or 12 for a pair of surrogates; 0 for a bad one. */
function escapeLength(line: string, at: number): number {
  if (simpleEscapes.has(line.charAt(at + 1))) return 2;
  const unit = hexUnit(line, at);
  if (unit < 0) return 0;
  if (unit < 0xd800 || unit > 0xdfff) return 6;
  if (unit >= 0xdc00) return unit >= 0xdc80 && unit <= 0xdcff ? 6 : 0;
  const low = hexUnit(line, at + 6);
  return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

/** The code unit of `\uXXXX` at `at`; -1 if that is not what stands there. */
function hexUnit(line: string, at: number): number {
  const text = line.slice(at, at + 6);
  return /^\\u[0-9a-fA-F]{4}$/.test(text) ? Number.parseInt(text.slice(2), 16) : -1;
}

function resolveEscape(line: string, at: number, length: number): string {
  if (length === 2) return simpleEscapes.get(line.charAt(at + 1))!;
  const unit = hexUnit(line, at);
  if (length === 12) {
    const low = hexUnit(line, at + 6);
    return utf8(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
  }
  return unit >= 0xdc00 && unit <= 0xdfff ? String.fromCharCode(unit - 0xdc00) : utf8(unit);
}

function utf8(point: number): string {
  if (point < 0x80) return String.fromCharCode(point);
  const last = 0x80 | (point & 0x3f);
  if (point < 0x800) return String.fromCharCode(0xc0 | (point >> 6), last);
  const third = 0x80 | ((point >> 6) & 0x3f);
  if (point < 0x10000) return String.fromCharCode(0xe0 | (point >> 12), third, last);
  return String.fromCharCode(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 0x3f), third, last);
}

/** What stands between quotes as it is. */
const plainText = /^[ !#-[\]-\x7f]*$/;

/** Bytes as a JSON string with its quotes. */
export function quote(bytes: string): string {
  return plainText.test(bytes) ? `"${bytes}"` : `"${escaped(bytes)}"`;
}

const shortEscapes: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

function escaped(bytes: string): string {
  let text = '';
  let plain = 0;
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes.charCodeAt(at);
    const length = byte < 0x80 ? 1 : sequenceLength(bytes, at);
    const escapeText = length === 0 ? `\\udc${byte.toString(16)}` : length === 1 ? asciiEscape(byte) : '';
    if (escapeText !== '') {
      text += bytes.slice(plain, at) + escapeText;
      plain = at + 1;
    }
    at += Math.max(1, length);
  }
  return text + bytes.slice(plain);
}

function asciiEscape(byte: number): string {
  return shortEscapes[byte] ?? (byte < 0x20 ? `\\u00${byte.toString(16).padStart(2, '0')}` : '');
}

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode, table 3-7), which does not begin with ASCII; 0 if none. */
function sequenceLength(bytes: string, at: number): number {
  const first = bytes.charCodeAt(at);
  if (first < 0xc2 || first > 0xf4) return 0;
  const second = bytes.charCodeAt(at + 1);
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (!(second >= lowest && second <= highest)) return 0;
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  for (let more = 2; more < length; more++) {
    const byte = bytes.charCodeAt(at + more);
    if (!(byte >= 0x80 && byte <= 0xbf)) return 0;
  }
  return length;
}

/** Most bytes of a client's word in a message. */
const MESSAGE_WORD_BYTES = 64;

function shortQuote(word: string): string {
  if (word.length <= MESSAGE_WORD_BYTES) return quote(word);
  return `${quote(word.slice(0, MESSAGE_WORD_BYTES)).slice(0, -1)}..."`;
}

/** The messages with the limits filled in. */
export class Texts {
  readonly fixed: Readonly<Record<MessageName, string>>;

  constructor(limits: StoreLimits) {
    const numbers: Readonly<Record<string, number>> = { ...limits };
    const filled = messageNames.map((name) => [
      name,
      messages[name].replace(/\{(\w+)\}/g, (_, limit: string) => String(numbers[limit])),
    ]);
    this.fixed = Object.fromEntries(filled) as Record<MessageName, string>;
  }

  word(name: MessageName, word: string): string {
    return this.fixed[name].replace('\x01', () => shortQuote(word));
  }

  number(name: MessageName, value: number): string {
    return this.fixed[name].replace('\x02', String(value));
  }
}

const byName = new Map(commands.map((command) => [command.name, command]));
const LONGEST_NAME = 8;

/** The command of that name, in upper or lower case. */
export function commandNamed(word: string): Command | undefined {
  const exact = byName.get(word);
  if (exact || word.length > LONGEST_NAME || !/^[A-Za-z]+$/.test(word)) return exact;
  return byName.get(word.toUpperCase());
}

/** The reply to HELP; undefined when there is no such command. */
export function helpReply(word?: string): string | undefined {
  const command = word === undefined ? undefined : commandNamed(word);
  if (word !== undefined && !command) return undefined;
  return `[${helpLines(command).map(quote).join(',')}]`;
}

const canonical = /^(?:0|-?[1-9][0-9]{0,18})$/;

/** The 64-bit signed integer that the bytes spell canonically; undefined if they do not. */
export function parseInteger(bytes: string): bigint | undefined {
  if (!canonical.test(bytes)) return undefined;
  const value = BigInt(bytes);
  return value === BigInt.asIntN(64, value) ? value : undefined;
}
