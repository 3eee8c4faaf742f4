import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CLUSTER_LINE_BYTES,
  ClusterFormatError,
  type ClusterRequest,
  encodeRequest,
  type Fields,
  parseReply,
  parseRequest,
  readJoinAnswer,
  readStatus,
} from '../../src/protocol/cluster.js';
import { sniff } from '../../src/protocol/sniff.js';

const identity = '00112233445566778899aabbccddeeff';
const requests: readonly ClusterRequest[] = [
  { request: 'join', id: 2, address: '127.0.0.1:8081', identity },
  { request: 'add', id: 65_535, address: '[::1]:1' },
  { request: 'remove', id: 1 },
  { request: 'transfer' },
  { request: 'transfer', to: 3 },
  { request: 'status' },
];

describe('a request of the cluster exchange', () => {
  it.each(requests)('is read as it was written, whole or byte by byte: %j', (request) => {
    const bytes = new TextEncoder().encode(`${encodeRequest(request)}SET a b\n`);
    const end = bytes.indexOf(10) + 1;
    for (let cut = 0; cut < end; cut++) expect(sniff(bytes.subarray(0, cut)), `${cut}`).toEqual({ kind: 'more' });
    for (let cut = end; cut <= bytes.length; cut++) {
      const what = sniff(bytes.subarray(0, cut));
      if (what.kind !== 'cluster') throw new Error(what.kind);
      expect(parseRequest(what.line)).toEqual(request);
    }
  });

  it.each([
    ['', 'does not begin with @cluster'],
    ['@cluster ', 'no JSON'],
    ['@cluster {', 'no JSON'],
    ['@cluster []', 'no JSON object'],
    ['@cluster null', 'no JSON object'],
    ['@cluster {}', 'request is not printable text'],
    ['@cluster {"request":"drop"}', 'no request "drop"'],
    ['@cluster {"request":"remove"}', 'id is not an integer from 1 to 65535'],
    ['@cluster {"request":"remove","id":0}', 'id is not an integer'],
    ['@cluster {"request":"remove","id":65536}', 'id is not an integer'],
    ['@cluster {"request":"remove","id":"1"}', 'id is not an integer'],
    ['@cluster {"request":"remove","id":1,"force":true}', 'no field "force"'],
    ['@cluster {"request":"status","__proto__":{"id":1}}', 'no field "__proto__"'],
    ['@cluster {"request":"add","id":1,"address":"127.0.0.1"}', 'address is not host:port'],
    ['@cluster {"request":"add","id":1,"address":"127.0.0.1:65536"}', 'address is not host:port'],
    ['@cluster {"request":"add","id":1,"address":"a b:1"}', 'address is not host:port'],
    ['@cluster {"request":"add","id":1,"address":"a\\u001b:1"}', 'address is not printable'],
    [`@cluster {"request":"join","id":1,"address":"a:1","identity":"${identity.slice(1)}"}`, 'not 32 hexadecimal'],
    [`@cluster {"request":"join","id":1,"address":"a:1","identity":"${identity.slice(1)}F"}`, 'not 32 hexadecimal'],
  ])('%s is refused', (line, why) => {
    expect(() => parseRequest(line)).toThrow(ClusterFormatError);
    expect(() => parseRequest(line)).toThrow(why);
  });

  it('of more than 4 KiB is refused before it is whole, and what only begins like one is a line', () => {
    const long = `@cluster ${'x'.repeat(CLUSTER_LINE_BYTES)}`;
    const bytes = new TextEncoder().encode(long);
    expect(sniff(bytes.subarray(0, CLUSTER_LINE_BYTES - 1))).toEqual({ kind: 'more' });
    expect(sniff(bytes.subarray(0, CLUSTER_LINE_BYTES))).toMatchObject({ kind: 'reject' });
    expect(sniff(new TextEncoder().encode('@clusters\n'))).toEqual({ kind: 'line' });
    expect(sniff(new TextEncoder().encode('@ x\n'))).toEqual({ kind: 'line' });
  });

  it('or an answer to one may hold whatever it likes: it is read, or refused as malformed', () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        for (const read of [
          () => parseRequest(`@cluster ${text}`),
          () => readStatus(parseReply(text) as Fields),
          () => readJoinAnswer(parseReply(text) as Fields),
        ]) {
          try {
            read();
          } catch (error) {
            if (text.includes('"error"')) continue;
            expect(error).toBeInstanceOf(ClusterFormatError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('an answer', () => {
  it('is an error that says where the leader is and whether to ask again, or the fields asked for', () => {
    const error = { error: 'node 2 does not lead', leader: '127.0.0.1:8080', again: true };
    expect(parseReply(JSON.stringify(error))).toEqual(error);
    expect(() => parseReply('{"error":"x","leader":"nowhere","again":true}')).toThrow('leader is not host:port');
    expect(() => parseReply('{"error":"x","leader":null}')).toThrow('again is neither true nor false');
    const members = [{ id: 1, address: 'a:1', kind: 'voter', identity }];
    const status = {
      id: 1,
      folder: identity,
      cluster: identity,
      leader: null,
      term: 3,
      asOf: 9,
      committed: true,
      version: 2,
      oldestVersion: 1,
      newestVersion: 3,
      members,
    };
    expect(readStatus(parseReply(JSON.stringify(status)) as Fields)).toEqual(status);
    const odd = { ...status, members: [{ ...members[0], kind: 'king' }] };
    expect(() => readStatus(parseReply(JSON.stringify(odd)) as Fields)).toThrow('kind is none of voter');
    const answer = {
      cluster: identity,
      founding: [{ id: 1, address: 'a:1', identity }],
      members: [{ id: 1, address: 'a:1' }],
    };
    expect(readJoinAnswer(parseReply(JSON.stringify(answer)) as Fields)).toEqual(answer);
  });
});
