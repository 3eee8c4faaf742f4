/** An application's own test against a simulated cluster: what README.md shows. */
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

async function sellUnderFaults(cluster: SimCluster): Promise<void> {
  const offices = cluster.nodes.map((node) => new BoxOffice(cluster.client(node)));
  const first = await offices[0]!.sell('A1', 'ann');
  expect(first).toBe(true);

  const leader = await cluster.leader();
  cluster.powerOff(leader);
  const other = cluster.nodes.find((node) => node !== leader)!;
  const again = new BoxOffice(cluster.client(other));
  expect(await again.sell('A1', 'bob')).toBe(false);

  const [one, two] = await Promise.all([again.sell('A2', 'ann'), again.sell('A2', 'bob')]);
  expect([one, two].filter(Boolean)).toHaveLength(1);

  cluster.restart(leader);
  await cluster.sleep(3_000);
  expect(await cluster.ask(leader, 'GET seat-A1')).toBe('"ann"');
}

it('sells no seat twice while the leader loses power', async () => {
  const { traceHash } = await simulate({ seed: 7 }, sellUnderFaults);
  const again = await simulate({ seed: 7 }, sellUnderFaults);
  expect(again.traceHash).toBe(traceHash);
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
