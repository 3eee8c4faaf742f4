/** GET key STALE: at once, from published state, with its revision. */
import { describe, expect, test } from 'vitest';
import type { MakeHarness } from './contract.js';

export function staleContract(make: MakeHarness): void {
  describe('GET key STALE', () => {
    test('states the revision, and gives the value as JSON', () => {
      const h = make();
      const c = h.open();
      expect(h.send(c, 'GET a STALE\n')).toBe('{"revision":0,"value":null}\n');
      h.send(c, 'SET a "x\\n\\udcff"\nSET b 1\n');
      const { revision } = h.store.stats();
      expect(h.send(c, 'GET a STALE\nget "\\u0061" "sta\\u006ce"\n')).toBe(
        `{"revision":${revision},"value":"x\\n\\udcff"}\n`.repeat(2),
      );
      expect(h.store.stats().counters.reads).toBe(3);
    });

    test('needs no read index: it is answered as soon as it is parsed', () => {
      const h = make();
      const [c, other] = [h.open(), h.open()];
      h.send(c, 'SET a 1\n');
      h.feed(other, 'GET a\n');
      h.ingest();
      h.feed(c, 'GET a STALE\n');
      h.ingest();
      expect(h.take(c)).toMatch(/^{"revision":\d+,"value":"1"}\n$/);
      expect(h.take(other)).toBe('');
      expect(h.store.gathered).toBe(1);
    });

    test('shows nothing that is not published, and nothing older than the own writes', () => {
      const h = make();
      const [c, other] = [h.open(), h.open()];
      h.feed(c, 'SET a 1\nGET a STALE\n');
      h.ingest();
      h.feed(other, 'GET a STALE\n');
      h.ingest();
      expect(h.take(other)).toBe('{"revision":0,"value":null}\n');
      expect(h.take(c)).toBe('');
      h.run();
      expect(h.take(c)).toBe('OK\n{"revision":2,"value":"1"}\n');
    });

    test('keeps its place behind reads that wait', () => {
      const h = make();
      const c = h.open();
      h.feed(c, 'GET a\nGET a STALE\nPING\n');
      h.ingest();
      expect(h.take(c)).toBe('');
      h.run();
      expect(h.take(c)).toBe('(nil)\n{"revision":0,"value":null}\nPONG\n');
    });

    test('does not show what has expired', () => {
      const h = make();
      const c = h.open();
      h.send(c, 'SET a 1 PX 50\n');
      h.logTime += 100;
      h.send(c, 'SET b 1\n');
      expect(h.send(c, 'GET a STALE\n')).toMatch(/^{"revision":\d+,"value":null}\n$/);
    });

    test('another word than STALE, a key too long, and a transaction are refused', () => {
      const h = make({ limits: { maxKey: 5 } });
      const c = h.open();
      expect(h.send(c, 'GET a OLD\nGET abcdef STALE\nGET abcdef OLD\n')).toBe(
        'ERR syntax GET takes STALE after the key, not "OLD"\n' +
          'ERR too-large key of 6 bytes; the limit is 5\n' +
          'ERR syntax GET takes STALE after the key, not "OLD"\n',
      );
      expect(h.send(c, 'BEGIN\nGET a STALE\nGET a x\nGET a\nCOMMIT\n')).toBe(
        'OK\nERR in-transaction "STALE" cannot be used between BEGIN and COMMIT\n' +
          'ERR syntax GET takes STALE after the key, not "x"\n(nil)\nOK\n',
      );
    });
  });
}
