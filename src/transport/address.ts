/** Takes `host:port` apart; an IPv6 host stands in brackets. Throws when it is not of this form. */
export function parseAddress(address: string): { host: string; port: number } {
  const parts = split(address);
  if (parts) return parts;
  throw new Error(`an address must be host:port with a port from 1 to 65535, not ${JSON.stringify(address)}`);
}

export function isAddress(address: string): boolean {
  return split(address) !== undefined;
}

function split(address: string): { host: string; port: number } | undefined {
  const colon = address.lastIndexOf(':');
  const text = address.slice(colon + 1);
  const port = Number(text);
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  const wrong = colon < 1 || host === '' || !/^\d{1,5}$/.test(text) || port < 1 || port > 65_535;
  return wrong ? undefined : { host, port };
}
