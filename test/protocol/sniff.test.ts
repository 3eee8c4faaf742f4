import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commands } from '../../src/protocol/commands.js';
import { PEER_MAGIC, SNIFF_BYTES, sniff } from '../../src/protocol/sniff.js';
import { PEER_MAGIC as TRANSPORT_MAGIC } from '../../src/transport/transport.js';

const latin1 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const kind = (text: string): string => sniff(latin1(text)).kind;
function reply(text: string): string {
  const sniffed = sniff(latin1(text));
  return sniffed.kind === 'reject' ? sniffed.reply : sniffed.kind;
}

describe('sniffing the first bytes', () => {
  it('takes every command for a line, in upper and lower case, with one and with several blanks', () => {
    for (const { name } of commands) {
      for (const word of [name, name.toLowerCase()]) {
        for (const line of [`${word}\n`, `${word}\r\n`, `${word} key\n`, `${word}  a b\r\n`, ` ${word}\ta b c\n`]) {
          expect([line, kind(line)]).toEqual([line, 'line']);
        }
      }
    }
  });

  it('never takes a valid command with HTTP in its arguments for HTTP', () => {
    const lines = ['SET /a HTTP/1.1\n', 'DEL / HTTP/1.0\r\n', 'EXISTS / HTTP/1.1\n', 'MGET / HTTP/1.1\n'];
    lines.push('INCR / HTTP/1.1\n', 'KEYS LIMIT HTTP/1.1\n', 'GET /\n', 'GET "/ HTTP/1.1"\n', 'GET HTTP/1.1\n');
    lines.push('GET / STALE\n', 'GET / STALE\r\n', 'GET HTTP/1.1 STALE\n');
    for (const line of lines) expect([line, kind(line)]).toEqual([line, 'line']);
  });

  it('rejects HTTP once the whole first line is there, with one line that says so', () => {
    const requests = ['GET / HTTP/1.1\r\n', 'GET / HTTP/1.0\n', 'POST /x?y=z HTTP/1.1\r\n', 'PROPFIND /a HTTP/1.1\r\n'];
    requests.push('OPTIONS * HTTP/1.1\r\n', 'CONNECT a:443 HTTP/1.1\r\n', 'HEAD http://a/ HTTP/1.1\r\nSET a b\r\n');
    for (const request of requests) {
      expect(reply(request)).toMatch(/^ERR protocol .*HTTP[^\n]*GET key$/);
      const firstLine = request.slice(0, request.indexOf('\n'));
      for (let cut = 0; cut < firstLine.length; cut++) expect(kind(firstLine.slice(0, cut))).toBe('more');
    }
  });

  it('takes what only resembles HTTP for a line', () => {
    const lines = [
      'GET / HTTP/1.1x\n',
      'GET / HTTP/1.2\n',
      'GET / HTTP/1.1 \n',
      'GET  / HTTP/1.1\n',
      'GET / HTTP/1.1 x\n',
    ];
    lines.push(
      'get / HTTP/1.1\n',
      'GET\t/ HTTP/1.1\n',
      'GET / http/1.1\n',
      ' GET / HTTP/1.1\n',
      'GET a\nGET / HTTP/1.1\n',
    );
    for (const line of lines) expect([line, kind(line)]).toEqual([line, 'line']);
  });

  it('rejects a TLS hello, RESP and bytes that are not text, and says what would be right', () => {
    expect(reply('\x16\x03\x01\x02\x00')).toMatch(/^ERR protocol this is a TLS hello.*without it$/);
    expect(reply('*1\r\n$4\r\nPING\r\n')).toMatch(/^ERR protocol RESP is not spoken here yet; .*GET key$/);
    for (const bytes of [
      '\x00',
      'GET\x01 a\n',
      '\x16\x04',
      'P\xc3\xa4 a\n',
      '\x7f\n',
      '\xd1DSX',
      '\xd1GET',
      'A\x1bB',
    ]) {
      expect([bytes, reply(bytes)]).toEqual([
        bytes,
        expect.stringMatching(/^ERR protocol these bytes are not text; .*GET key$/),
      ]);
    }
  });

  it('lets bytes of every kind stand behind the first word', () => {
    for (const text of ['SET \xff\x00\x01 b\n', 'GET \xd1DST\n', 'SET a \x16\x03\n']) expect(kind(text)).toBe('line');
  });

  it('takes the magic for a peer, also when it comes byte by byte', () => {
    expect(TRANSPORT_MAGIC).toBe(PEER_MAGIC);
    for (let length = 1; length < 4; length++)
      expect(sniff(Uint8Array.from(PEER_MAGIC.slice(0, length))).kind).toBe('more');
    expect(sniff(Uint8Array.of(...PEER_MAGIC)).kind).toBe('peer');
    expect(sniff(Uint8Array.of(...PEER_MAGIC, 1, 2, 3)).kind).toBe('peer');
  });

  it('asks for more only when the first word may go on, and never beyond its bound', () => {
    expect(['', 'G', 'GET', ' ', ' \t GE', 'GET ', 'GET /a', '\x16', '\xd1D'].map(kind)).toEqual(Array(9).fill('more'));
    for (const start of ['', 'GET ', 'POST /', 'SET ', ' ', 'POST / HTTP/1.']) {
      expect(kind(start + 'A'.repeat(SNIFF_BYTES - start.length))).not.toBe('more');
      expect(kind(start + ' '.repeat(SNIFF_BYTES - start.length))).not.toBe('more');
    }
  });

  it('does not run what follows an endless POST, wherever the bound cuts its first line', () => {
    for (let pad = SNIFF_BYTES - 40; pad < SNIFF_BYTES + 40; pad++) {
      expect(kind(`POST /${'a'.repeat(pad)} HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n`)).toBe('reject');
    }
    expect(kind(`GET ${'a'.repeat(SNIFF_BYTES)}\n`)).toBe('line');
  });

  it('reaches the same verdict however the bytes were cut', () => {
    const piece = fc.constantFrom(
      'GET',
      'POST',
      'SET',
      ' ',
      '\t',
      '/',
      'HTTP/1.1',
      'HTTP/1.',
      '\r',
      '\n',
      'a',
      '*',
      '\x16\x03',
      '@cluster ',
      '@cluster',
    );
    const text = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((pieces) => latin1(pieces.join(''))),
      fc.uint8Array({ maxLength: 12 }),
      fc.uint8Array({ maxLength: 4 }).map((tail) => Uint8Array.of(...PEER_MAGIC, ...tail)),
    );
    fc.assert(
      fc.property(text, (bytes) => {
        const whole = sniff(bytes);
        for (let cut = 0; cut < bytes.length; cut++) {
          const part = sniff(bytes.subarray(0, cut));
          if (part.kind !== 'more') expect(part).toEqual(whole);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
