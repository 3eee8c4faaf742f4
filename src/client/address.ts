/** Addresses as people write them: `host:port`, `[::1]:8080`, or a host or port alone where there is a default. */

export interface Address {
  readonly host: string;
  readonly port: number;
}

export const defaultAddress: Address = { host: '127.0.0.1', port: 8080 };

/** A text that is no address; the message says what would be one. */
export class AddressError extends Error {
  override readonly name = 'AddressError';
}

/** Reads `host:port`; throws AddressError. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^\s:[\],=]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535 || port === 0)
    throw new AddressError(`"${text}" is not an address; it should be host:port, such as 127.0.0.1:8080`);
  return { host, port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether only programs of this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** Whether the host stands for every address of this machine: nobody can be told to connect to it. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}
