/** `distributed cluster …`: shows and changes who belongs to a cluster. */
import { type Address, parseAddress } from '../client/address.js';
import { askCluster } from '../client/cluster.js';
import { type ClusterRequest, type ClusterStatus, type Fields, readStatus } from '../protocol/cluster.js';
import { tell } from './report.js';

/** What may pass (an election) is waited for so long. */
const patienceMs = 10_000;

/** Asks, and prints what came of it; resolves with the exit code. */
export async function runCluster(
  addresses: readonly Address[],
  request: ClusterRequest,
  json: boolean,
): Promise<number> {
  try {
    if (request.request === 'status') {
      const status = await leadersStatus(addresses);
      process.stdout.write(json ? `${JSON.stringify(status)}\n` : table(status));
      return 0;
    }
    const fields = await askCluster(addresses, request, patienceMs);
    process.stdout.write(`${done(request, fields)}\n`);
    return 0;
  } catch (error) {
    tell((error as Error).message);
    return 1;
  }
}

/** As the leader knows it; as the first node that answers, when there is none. */
async function leadersStatus(addresses: readonly Address[]): Promise<ClusterStatus> {
  const first = readStatus(await askCluster(addresses, { request: 'status' }, 0));
  const leader = first.members.find(({ id }) => id === first.leader);
  if (first.leader === first.id || !leader) return first;
  return askCluster([parseAddress(leader.address)], { request: 'status' }, 0).then(readStatus, () => first);
}

function done(request: ClusterRequest, fields: Fields): string {
  switch (request.request) {
    case 'add':
      if (fields.kind('kind') !== 'invited')
        return `node ${request.id} is a member at ${request.address} already; if its data folder is lost, start it there as before`;
      return [
        `node ${request.id} may join at ${request.address}; start it there, with an empty data folder:`,
        `  distributed --id ${request.id} --port ${parseAddress(request.address).port} --join <address of a member>`,
      ].join('\n');
    case 'remove':
      return `node ${request.id} is no member any more`;
    default:
      return `node ${fields.id('leader')} leads`;
  }
}

const headings = ['id', 'address', 'kind', 'leader'];

function table({ id, members, leader, version, newestVersion }: ClusterStatus): string {
  const rows = [
    headings,
    ...members.map(({ id, address, kind }) => [`${id}`, address, kind, id === leader ? 'yes' : '']),
  ];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
  const waiting = newestVersion > version ? `, ${newestVersion} once the programs of all members know it` : '';
  const alone = leader === null ? `no leader: these are the members as node ${id} knows them\n` : '';
  return `${lines.join('\n')}\n\n${alone}version ${version} is in force${waiting}\n`;
}
