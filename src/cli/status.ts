/**
 * `distributed status`: asks one node who the members are, then each of them how it is.
 *
 * Its exit code is for scripts: 0 while the cluster serves. A member that is dead does not keep it from that and is told on stderr
 * alone; without a leader it serves nobody, however many answer.
 */
import { type Address, Client, formatAddress, parseAddress } from '../client/client.js';

/** What STATUS answers, as far as it is shown. */
interface NodeStatus {
  readonly id: number;
  readonly role: string;
  readonly term: number;
  readonly leader: number | null;
  readonly commit: number;
  readonly applied: number;
  readonly keys: number;
  readonly stateHash: string;
  readonly store: string;
  readonly memory: { readonly logical: number; readonly limit: number; readonly used: number };
}

interface Member {
  readonly id: number;
  readonly address: string;
  readonly voter: boolean;
}

export interface MemberReport extends Member {
  readonly reachable: boolean;
  /** Why not. */
  readonly reason?: string;
  readonly status?: NodeStatus;
}

/** A member that does not answer within this time is unreachable. */
const timeoutMs = 2_000;

/** Prints the members; resolves with the exit code: 1 when nobody answers, there is no leader, or two states differ that must not. */
export async function runStatus(
  addresses: readonly Address[],
  json: boolean,
  out: (text: string) => void,
  tell: (text: string) => void,
): Promise<number> {
  const { members, reasons } = await findMembers(addresses);
  if (!members) {
    tell(`no node answers: ${reasons.join('; ')}`);
    return 1;
  }
  const reports = await Promise.all(members.map(reportOf));
  out(json ? `${JSON.stringify({ members: reports })}\n` : formatTable(reports));
  for (const { id, reason } of reports) if (reason) tell(`node ${id} does not answer: ${reason}`);
  const faults = [findDivergence(reports), lackOfLeader(reports)].filter((fault) => fault !== undefined);
  for (const fault of faults) tell(fault);
  return faults.length === 0 ? 0 : 1;
}

async function findMembers(
  addresses: readonly Address[],
): Promise<{ members: readonly Member[] | undefined; reasons: string[] }> {
  const reasons: string[] = [];
  for (const address of addresses) {
    try {
      const members = (await ask(address, 'MEMBERS')) as readonly Member[];
      if (Array.isArray(members)) return { members, reasons };
      reasons.push(`${formatAddress(address)}: not a node of Distributed`);
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  return { members: undefined, reasons };
}

async function reportOf({ id, address, voter }: Member): Promise<MemberReport> {
  try {
    const status = (await ask(parseAddress(address), 'STATUS')) as NodeStatus;
    return { id, address, voter, reachable: true, status };
  } catch (error) {
    return { id, address, voter, reachable: false, reason: (error as Error).message };
  }
}

/** The JSON that a node answers to a command. Rejects with an Error that begins with the address. */
async function ask(address: Address, command: string): Promise<unknown> {
  const client = await Client.connect(address, timeoutMs);
  let timer: NodeJS.Timeout | undefined;
  const name = formatAddress(address);
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    const line = await Promise.race([client.line(command), late]);
    return parse(line);
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`);
  } finally {
    clearTimeout(timer);
    client.close();
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    // A node that cannot serve this connection says why.
    if (line.startsWith('ERR ')) throw new Error(line);
    throw new Error(`not a node of Distributed (it answered ${JSON.stringify(line.slice(0, 60))})`);
  }
}

const headings = [
  'id',
  'address',
  'role',
  'term',
  'leader',
  'commit',
  'applied',
  'keys',
  'state hash',
  'store',
  'memory',
];
/** Columns of text; the others hold numbers and stand to the right. */
const textColumns = new Set(['address', 'role', 'state hash', 'store']);

function formatTable(reports: readonly MemberReport[]): string {
  const rows = [headings, ...reports.map(cells)];
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        textColumns.has(headings[column]!) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

function cells({ id, address, status }: MemberReport): string[] {
  if (!status) return [String(id), address, 'unreachable'];
  const { role, term, leader, commit, applied, keys, stateHash, store, memory } = status;
  const numbers = [term, leader ?? '-', commit, applied, keys].map(String);
  return [String(id), address, role, ...numbers, stateHash, store, formatBytes(memory.used)];
}

function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** A leader that cannot reach a majority steps down, so one that is known of serves. */
function lackOfLeader(reports: readonly MemberReport[]): string | undefined {
  if (reports.some((report) => report.status?.leader)) return undefined;
  const voters = reports.filter((report) => report.voter);
  const majority = Math.floor(voters.length / 2) + 1;
  const answering = voters.filter((report) => report.reachable).length;
  return answering < majority
    ? `no leader: ${answering} of ${voters.length} members reachable, and a majority is ${majority}`
    : 'no leader at present: none of the members that answer knows of one';
}

/** Two nodes that have applied the same entries must have the same state. */
function findDivergence(reports: readonly MemberReport[]): string | undefined {
  const first = new Map<number, MemberReport>();
  for (const report of reports) {
    if (!report.status) continue;
    const { applied, stateHash } = report.status;
    const other = first.get(applied) ?? report;
    if (other.status!.stateHash !== stateHash)
      return `nodes ${other.id} and ${report.id} have applied the same entries (${applied}) and differ in their state`;
    first.set(applied, other);
  }
  return undefined;
}
