import { afterEach, expect, it } from 'vitest';
import { Session } from '../../src/cli/session.js';
import { parseAddress } from '../../src/client/address.js';
import { Cluster, until } from '../support/cluster.js';
import { soak } from '../support/soak.js';

let cluster: Cluster | undefined;
let session: Session | undefined;
afterEach(async () => {
  session?.close();
  await cluster?.stop();
});

/** Says what a reply means for the count that it is about. */
interface Sent {
  readonly line: string;
  reply?: string;
}

it(
  'the CLI’s writes and COMMITs happen once each while the nodes that it is connected to are killed and stopped',
  async () => {
    cluster = await Cluster.start({ args: (id) => (id === 2 ? ['--store', 'js'] : []) });
    const started = performance.now();
    const sent: Sent[] = [];
    const notes: string[] = [];
    let answered = 0;
    session = new Session(
      { addresses: cluster.nodes.map(({ address }) => parseAddress(address)), timeoutMs: 10_000, reconnectMs: 20_000 },
      {
        reply: (line) => {
          sent[answered++]!.reply = line.toString();
        },
        note: (text) => notes.push(text),
        room: () => {},
        quit: () => {},
        unreachable: (reason) => notes.push(reason),
      },
    );
    await session.start();
    const send = (line: string) => {
      sent.push({ line });
      session!.send(Buffer.from(line));
    };
    let faults = 0;
    let over = false;
    const driver = (async () => {
      while (!over) {
        for (let i = 0; i < 100; i++) send('INCR count');
        for (const line of ['BEGIN', 'INCR together', 'INCR apart', 'COMMIT']) send(line);
        await until('some are answered', 60_000, () => sent.length - answered < 300);
      }
    })();
    while (faults < 6 * soak.factor) {
      const before = answered;
      await until('it is under way', 60_000, () => answered > before + 500 && session!.address !== undefined);
      const node = cluster.nodes.find(({ address }) => address === session!.address)!;
      if (faults++ % 3 === 2) await node.terminate();
      else await node.kill();
      await until('it goes on elsewhere', 60_000, () => session!.address !== undefined && answered > before + 600);
      await node.start();
    }
    over = true;
    await driver;
    await until('all is answered', 60_000, () => answered === sent.length);

    const of = (line: string) => sent.filter((one) => one.line === line).map(({ reply }) => reply!);
    const counted = of('INCR count');
    expect(counted).toEqual(counted.map((_, i) => `(integer) ${i + 1}`));
    const commits = of('COMMIT');
    for (const reply of commits) expect(reply).toMatch(/^(OK$|ERR aborted )/);
    const done = commits.filter((reply) => reply === 'OK').length;
    send('MGET together apart count');
    await until('that is answered', 20_000, () => answered === sent.length);
    expect(sent.at(-1)!.reply).toBe(`["${done}","${done}","${counted.length}"]`);
    expect(notes.length).toBeGreaterThanOrEqual(faults);
    const statuses = await cluster.settled();
    expect(new Set(statuses.map(({ stateHash }) => stateHash)).size).toBe(1);
    const again = notes.filter((note) => note.includes('is sent again')).length;
    console.log(
      `exactly once: ${counted.length} writes, ${done} of ${commits.length} transactions, ${faults} faults, ${again} times something was sent again, ${Math.round(performance.now() - started)} ms`,
    );
    expect(again).toBeGreaterThan(0);
  },
  soak.timeoutMs,
);
