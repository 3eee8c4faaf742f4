/** Finding a node that answers, and learning from it who else there is. */
import { type Address, AddressError, formatAddress, parseAddress } from '../client/address.js';
import { Connection } from '../client/connection.js';

export interface Found {
  readonly connection: Connection;
  /** The members of its cluster, itself among them. */
  readonly members: readonly Address[];
}

/** A node that does not greet within this time is passed over. */
const greetMs = 2_000;

/** Tries the addresses in turn; rejects with an Error that tells of each why it would not do. */
export async function locate(addresses: readonly Address[]): Promise<Found> {
  const reasons: string[] = [];
  for (const address of addresses) {
    try {
      return await greet(address);
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  throw new Error(`no node answers: ${reasons.join('; ')}`);
}

/**
 * Connects, and asks for MEMBERS: that tells a node of this product from whatever else may listen there. Rejects with an
 * Error whose message begins with the address.
 */
async function greet(address: Address): Promise<Found> {
  const connection = await Connection.open(address, greetMs);
  const name = formatAddress(address);
  let timer: NodeJS.Timeout | undefined;
  try {
    const line = await new Promise<string>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${name}: no answer within ${greetMs} ms`)), greetMs);
      connection.on({
        reply: (bytes) => resolve(bytes.toString()),
        closed: (reason) => reject(new Error(`${name}: ${reason}`)),
      });
      connection.send(Buffer.from('MEMBERS\n'));
    });
    return { connection, members: membersOf(line, name) };
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function membersOf(line: string, name: string): Address[] {
  try {
    const members = JSON.parse(line) as unknown;
    if (Array.isArray(members)) return members.map((member) => parseAddress(String(addressOf(member))));
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof AddressError)) throw error;
  }
  // A node that cannot serve this connection says why.
  if (line.startsWith('ERR ')) throw new Error(`${name}: ${line}`);
  const answer = JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}…` : line);
  throw new Error(`${name}: not a node of Distributed (it answered ${answer})`);
}

function addressOf(member: unknown): unknown {
  return typeof member === 'object' && member !== null && 'address' in member ? member.address : undefined;
}
