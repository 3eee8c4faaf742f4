/** The options of SET: EX seconds or PX milliseconds, NX or XX, in any order behind the value. */
import type { MessageName } from '../protocol/commands.js';
import { MAX_TTL_MS, OpFlag } from './js-operations.js';
import { parseInteger } from './js-text.js';

export interface SetOptions {
  /** `OpFlag.nx`, `OpFlag.xx`, or 0. */
  readonly condition: number;
  /** 0: no deadline. */
  readonly ttlMs: number;
  /** The first word at fault, and the message about it. */
  readonly fault: { readonly message: MessageName; readonly word: string } | undefined;
}

const FIRST = 3;
const units: ReadonlyMap<string, number> = new Map([
  ['EX', 1_000],
  ['PX', 1],
]);
const conditions: ReadonlyMap<string, number> = new Map([
  ['NX', OpFlag.nx],
  ['XX', OpFlag.xx],
]);
const none: SetOptions = { condition: 0, ttlMs: 0, fault: undefined };

/** Reads the options of the SET whose words these are. */
export function setOptions(words: readonly string[]): SetOptions {
  if (words.length <= FIRST) return none;
  let condition = 0;
  let ttlMs = 0;
  const faulty = (message: MessageName, word: string): SetOptions => ({ condition, ttlMs, fault: { message, word } });
  for (let at = FIRST; at < words.length; at++) {
    const word = words[at]!;
    const option = /^[enpx]x$/i.test(word) ? word.toUpperCase() : '';
    const unit = units.get(option);
    if (unit !== undefined && ttlMs === 0 && at + 1 < words.length) {
      ttlMs = timeToLive(words[++at]!, unit);
      if (ttlMs === 0) return faulty('setTime', words[at]!);
    } else if (conditions.has(option) && condition === 0) condition = conditions.get(option)!;
    else return faulty('setOption', word);
  }
  return { condition, ttlMs, fault: undefined };
}

/** Milliseconds; 0: not a number within the bounds. */
function timeToLive(word: string, unit: number): number {
  const number = parseInteger(word);
  return number === undefined || number < 1n || number > BigInt(MAX_TTL_MS / unit) ? 0 : Number(number) * unit;
}
