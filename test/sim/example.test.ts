/** An application's own tests against a simulated cluster. What README.md shows of them is checked to stand here. */
import { readFileSync } from 'node:fs';
import { type SimClient, type SimCluster, simulate } from 'distributed/sim';
import { expect, it } from 'vitest';

/** The application: seats that nobody may sell twice. */
class BoxOffice {
  readonly #client: SimClient;

  constructor(client: SimClient) {
    this.#client = client;
  }

  /** Sells a seat; false if it was taken, undefined if that cannot be known. */
  async sell(seat: string, buyer: string): Promise<boolean | undefined> {
    const reply = await this.#client.ask(`SET seat-${seat} ${buyer} NX`);
    return reply === 'OK' ? true : reply === '(nil)' ? false : undefined;
  }
}

it('sells no seat twice when the leader loses power', async () => {
  await simulate({ seed: 7 }, async (cluster) => {
    const first = new BoxOffice(cluster.client(cluster.node(1)));
    expect(await first.sell('A1', 'ann')).toBe(true);

    const leader = await cluster.leader();
    cluster.powerOff(leader);
    const other = cluster.nodes.find((node) => node !== leader)!;
    const second = new BoxOffice(cluster.client(other));
    expect(await second.sell('A1', 'bob')).toBe(false);

    cluster.restart(leader);
    await cluster.sleep(3_000);
    expect(await cluster.ask(leader, 'GET seat-A1')).toBe('"ann"');
  });
});

it('is what README.md shows', () => {
  const shown = /```ts\n(import \{ type SimClient, simulate \}[\s\S]*?)```/.exec(
    readFileSync('README.md', 'utf8'),
  )![1]!;
  const here = readFileSync('test/sim/example.test.ts', 'utf8');
  const body = shown.slice(shown.indexOf('/** The application'));
  expect(body.length).toBeGreaterThan(600);
  expect(here).toContain(body);
});

/** Two that want the same seat at the same moment, while a third node comes and goes. */
async function race(cluster: SimCluster): Promise<void> {
  const offices = cluster.nodes.map((node) => new BoxOffice(cluster.client(node)));
  for (let seat = 0; seat < 5; seat++) {
    const node = cluster.nodes[Math.floor(cluster.random.float() * 3)]!;
    cluster.partition(node);
    const sold = await Promise.all(offices.map((office, buyer) => office.sell(`B${seat}`, `buyer${buyer}`)));
    expect(sold.filter((outcome) => outcome === true).length).toBeLessThanOrEqual(1);
    cluster.heal();
  }
}

it('goes the same way for the same seed, and another way for another', async () => {
  const [one, two, other] = [
    await simulate({ seed: 3 }, race),
    await simulate({ seed: 3 }, race),
    await simulate({ seed: 4 }, race),
  ];
  expect(two.traceHash).toBe(one.traceHash);
  expect(other.traceHash).not.toBe(one.traceHash);
});

it('tells of what the application gets wrong', async () => {
  const wrong = simulate({ seed: 1 }, async (cluster) => {
    await cluster.ask(cluster.node(1), 'SET a 1');
    expect(await cluster.ask(cluster.node(2), 'GET a')).toBe('"2"');
  });
  await expect(wrong).rejects.toThrow('to be');
});

it('does not wait for ever', async () => {
  const endless = simulate({ limitMs: 5_000 }, (cluster) => cluster.sleep(1_000_000));
  await expect(endless).rejects.toThrow('had not ended after 5000');
});
