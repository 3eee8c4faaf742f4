import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineSplitter } from '../../src/client/lines.js';
import { encodeLine, parseReply, ServerError, type Word } from '../../src/client/words.js';
import { JsStore } from '../../src/store/js-store.js';
import { Harness, testOptions } from '../store/harness.js';

/** Sends a command to a store as a node would, and reads its reply. */
function ask(harness: Harness, slot: number, ...words: Word[]) {
  const reply = harness.send(slot, encodeLine(words));
  expect(reply.endsWith('\n')).toBe(true);
  return parseReply(Buffer.from(reply.slice(0, -1), 'latin1').toString());
}

const word = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.string({ unit: 'binary', maxLength: 40 }));

describe('words', () => {
  it('of any bytes and any characters come back from a store as they were', () => {
    const harness = new Harness(new JsStore(testOptions()));
    const slot = harness.open();
    fc.assert(
      fc.property(word, word, (key, value) => {
        expect(ask(harness, slot, 'SET', key, value)).toEqual({ kind: 'text', text: 'OK' });
        expect(ask(harness, slot, 'GET', key)).toEqual({ kind: 'value', value: Buffer.from(value as Uint8Array) });
        expect(ask(harness, slot, 'MGET', key)).toEqual({ kind: 'list', list: [Buffer.from(value as Uint8Array)] });
      }),
      { numRuns: 500 },
    );
  });

  it('need no quotes when they are plain', () => {
    expect(encodeLine(['SET', 'user:1', 'a"b', Buffer.from('é')]).toString()).toBe('SET user:1 a"b é\n');
  });

  it('are quoted when a blank, a quote at the front, a control character or nothing would mislead', () => {
    const line = encodeLine(['SET', 'a b', '', '"x', 'l\nf', Buffer.from('t\t\\"')]).toString();
    expect(line).toBe('SET "a b" "" "\\"x" "l\\nf" "t\\t\\\\\\""\n');
  });

  it('that are no characters become the replacement character', () => {
    expect(encodeLine(['\ud800']).toString()).toBe('\ufffd\n');
  });
});

describe('replies', () => {
  it.each([
    ['OK', { kind: 'text', text: 'OK' }],
    ['(nil)', { kind: 'nil' }],
    ['(integer) -9223372036854775808', { kind: 'integer', integer: -9223372036854775808n }],
    ['"a\\u0001\\udcff"', { kind: 'value', value: Buffer.from([0x61, 1, 0xff]) }],
    // A pair of surrogates is a character, although its second half alone would stand for a byte.
    ['"\\ud83d\\udc80\\udc80"', { kind: 'value', value: Buffer.from([0xf0, 0x9f, 0x92, 0x80, 0x80]) }],
    ['["a",null]', { kind: 'list', list: [Buffer.from('a'), null] }],
    ['{"id":1}', { kind: 'json', json: { id: 1 } }],
    ['[{"id":1}]', { kind: 'json', json: [{ id: 1 }] }],
  ])('%s', (line, reply) => {
    expect(parseReply(line)).toEqual(reply);
  });

  it('that are errors tell their code and whether anything can have happened', () => {
    for (const [line, code, definite] of [
      ['ERR conflict key "a" has changed', 'conflict', true],
      ['UNKNOWN timeout no majority', 'timeout', false],
    ] as const) {
      const error = (() => {
        try {
          return parseReply(line);
        } catch (thrown) {
          return thrown;
        }
      })();
      expect(error).toBeInstanceOf(ServerError);
      expect(error).toMatchObject({ code, definite });
    }
  });

  it('that are none are refused', () => {
    expect(() => parseReply('HTTP/1.1 400 Bad Request')).toThrow('not a reply of the line protocol');
  });
});

describe('lines', () => {
  it('are the same wherever the stream is cut', () => {
    const lines = fc.array(fc.string({ unit: 'grapheme-ascii', maxLength: 12 }), { maxLength: 12 });
    fc.assert(
      fc.property(lines, fc.array(fc.nat(30)), fc.nat(12), (texts, cuts, limit) => {
        const stream = Buffer.from(texts.map((text) => `${text}\n`).join(''));
        const seen: string[] = [];
        const splitter = new LineSplitter(limit, {
          line: (bytes) => seen.push(bytes.toString()),
          tooLong: () => seen.push('too long'),
        });
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          splitter.push(stream.subarray(at, at + cut));
          at = Math.min(stream.length, at + cut);
        }
        splitter.push(stream.subarray(at));
        expect(splitter.end()).toBeUndefined();
        expect(seen).toEqual(texts.map((text) => (text.length > limit ? 'too long' : text)));
      }),
    );
  });

  it('that are too long are not held', () => {
    let dropped = 0;
    const splitter = new LineSplitter(10, { line: () => expect.fail(), tooLong: () => dropped++ });
    for (let i = 0; i < 1_000; i++) splitter.push(Buffer.alloc(1_000, 'x'));
    expect(splitter.end()).toBeUndefined();
    expect(dropped).toBe(1);
  });
});
