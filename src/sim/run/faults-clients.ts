/** Clients that behave badly. They may be refused and cut off, and must harm nobody else. */
import type { SimClient } from '../client.js';
import type { SeededRandom } from '../random.js';
import type { FaultKind, Heal } from './faults.js';
import type { Stage } from './stage.js';

/** What other protocols begin with. */
const greetings = [
  'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  '*1\r\n$4\r\nPING\r\n',
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
  '\0\0\0\0',
];

/** A connection of its own to some node; closed when the fault ends. */
function guest(
  name: string,
  behave: (client: SimClient, random: SeededRandom, stage: Stage) => void,
  after: (client: SimClient, random: SeededRandom) => void = (client) => client.close(),
): FaultKind {
  return {
    name,
    inject: (stage, random) => {
      const node = stage.running(random);
      if (!node) return undefined;
      const client = stage.cluster.client(node);
      behave(client, random, stage);
      return () => after(client, random);
    },
  };
}

const line = (text: string): Uint8Array => Buffer.from(`${text}\n`);

/** A chance that workers misbehave, for a while. */
function rudeness(stage: Stage, what: keyof Stage['rude'], chance: number): Heal {
  stage.rude[what] = chance;
  return () => {
    stage.rude[what] = 0;
  };
}

function junk(client: SimClient, random: SeededRandom): void {
  if (random.chance(0.4)) client.sendRaw(Buffer.from(greetings[random.integer(0, greetings.length - 1)]!, 'latin1'));
  client.sendRaw(random.bytes(random.integer(1, 3_000)));
}

/** Bytes that begin as a peer's, and go on as nonsense. */
function falsePeer(client: SimClient, random: SeededRandom): void {
  client.sendRaw(Buffer.concat([Buffer.from([0xd1, 0x44, 0x53, 0x54]), random.bytes(random.integer(8, 400))]));
}

export const clientFaults: readonly FaultKind[] = [
  { name: 'client vanishes in COMMIT', countsItself: true, inject: (stage) => rudeness(stage, 'vanishInCommit', 0.4) },
  { name: 'idle transactions', countsItself: true, inject: (stage) => rudeness(stage, 'idleInTransaction', 0.4) },
  guest('half a line', (client, random) => {
    client.sendRaw(Buffer.from('SET junk half'.slice(0, random.integer(1, 13))));
    if (random.chance(0.5)) client.end();
  }),
  guest('garbage bytes', junk),
  guest('garbage from a peer', falsePeer),
  guest('client that does not read', (client, random) => {
    client.pause();
    const text = `MGET ${'junk-counter '.repeat(200)}`;
    for (let n = random.integer(100, 600); n > 0; n--) client.sendRaw(line(text));
  }),
  guest('huge pipeline', (client, random) => {
    const lines = Array.from({ length: random.integer(200, 2_000) }, (_, n) =>
      n % 3 === 0 ? `SET junk ${n}` : n % 3 === 1 ? 'INCR junk-counter' : 'GET junk',
    );
    client.sendRaw(line(lines.join('\n')));
  }),
  guest('huge values', (client, random) => {
    for (let n = random.integer(1, 3); n > 0; n--)
      client.sendRaw(line(`SET junk ${'x'.repeat(random.integer(1_000, 60_000))}`));
  }),
  guest('many connections', (client, random, stage) => {
    client.sendRaw(line('PING'));
    const node = stage.running(random);
    if (!node) return;
    const more = Array.from({ length: random.integer(5, 40) }, () => stage.cluster.client(node));
    for (const each of more) each.sendRaw(line('BEGIN\nGET junk\nSET junk 1'));
    stage.world.schedule(random.between(1, 800), undefined, 'leave', () => {
      for (const each of more) each.close();
    });
  }),
];
