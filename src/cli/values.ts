/** Values of flags and environment variables: each reader throws InvalidArgumentError with what would be right. */
import { InvalidArgumentError } from 'commander';
import { type Address, AddressError, formatAddress, parseAddress } from '../client/address.js';
import type { PeerAddress } from '../node/options.js';

/** A whole number in a range. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,15}$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`It should be a whole number from ${min} to ${max}.`);
    return value;
  };
}

/** A number in a range. */
export function decimal(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+(\.\d+)?$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`It should be a number from ${min} to ${max}.`);
    return value;
  };
}

const milliseconds: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** A duration such as 500, 500ms, 5s or 2m, as milliseconds in a range. */
export function duration(minMs: number, maxMs: number): (text: string) => number {
  return (text) => {
    const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|)$/.exec(text);
    const value = match ? Number(match[1]) * milliseconds[match[2]!]! : Number.NaN;
    if (!(value >= minMs && value <= maxMs))
      throw new InvalidArgumentError(`It should be a time from ${minMs}ms to ${maxMs}ms, such as 500ms or 5s.`);
    return Math.round(value);
  };
}

const bytes: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
};

/** A size such as 1000000, 512MiB or 2GiB, as bytes in a range; 0 too where it stands for `none`. */
export function size(min: number, max: number, zero?: 'none'): (text: string) => number {
  return (text) => {
    const match = /^(\d{1,15}(?:\.\d{1,3})?)(|b|[kmg]i?b)$/i.exec(text);
    const value = match ? Math.floor(Number(match[1]) * bytes[match[2]!.toLowerCase()]!) : Number.NaN;
    if (value === 0 && zero) return 0;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(
        `It should be a size from ${inUnits(min)} to ${inUnits(max)}${zero ? `, or 0 for ${zero}` : ''}.`,
      );
    return value;
  };
}

/** 1048576 as 1MiB: as people write it. */
function inUnits(size: number): string {
  const unit = ['GiB', 'MiB', 'KiB'].find((name) => size > 0 && size % bytes[name.toLowerCase()]! === 0);
  return unit ? `${size / bytes[unit.toLowerCase()]!}${unit}` : `${size} ${size === 1 ? 'byte' : 'bytes'}`;
}

/** A range of times such as 400-800, as milliseconds. */
export function durationRange(minMs: number, maxMs: number): (text: string) => readonly [number, number] {
  return (text) => {
    const match = /^(\d{1,7})-(\d{1,7})$/.exec(text);
    const [from, to] = [Number(match?.[1]), Number(match?.[2])];
    if (!match || from < minMs || to > maxMs || from >= to)
      throw new InvalidArgumentError(
        `It should be a range of milliseconds from ${minMs} to ${maxMs}, such as 400-800.`,
      );
    return [from, to];
  };
}

/** One host:port. */
export function address(text: string): Address {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof AddressError) throw new InvalidArgumentError(`${capital(error.message)}.`);
    throw error;
  }
}

/** Any number of host:port, for an argument that may be repeated. */
export function addresses(text: string, previous: readonly Address[] | undefined): readonly Address[] {
  return [...(previous ?? []), address(text)];
}

/** `127.0.0.1:8080,127.0.0.1:8081`. */
export function addressList(text: string): readonly Address[] {
  return text.split(',').map((one) => address(one.trim()));
}

/** The same as texts. */
export function joinList(text: string): readonly string[] {
  return addressList(text).map(formatAddress);
}

/** `1=127.0.0.1:8080,2=127.0.0.1:8081`: every id and every address once. */
export function peers(text: string): readonly PeerAddress[] {
  const list = text.split(',').map(peer);
  for (const key of ['id', 'address'] as const) {
    const twice = list.find((p, i) => list.findIndex((q) => q[key] === p[key]) < i);
    if (twice) throw new InvalidArgumentError(`The ${key} ${twice[key]} is there twice.`);
  }
  return list;
}

function peer(text: string): PeerAddress {
  const match = /^\s*(\d{1,5})=(\S+)\s*$/.exec(text);
  const id = Number(match?.[1]);
  if (!match || id < 1 || id > 65_535)
    throw new InvalidArgumentError(`"${text}" is not id=host:port; all members are listed as 1=127.0.0.1:8080,2=….`);
  address(match[2]!);
  return { id, address: match[2]! };
}

/** Ports, each once: `8080,8081,8082`. */
export function ports(text: string): readonly number[] {
  const list = text.split(',').map(integer(1, 65_535));
  if (new Set(list).size < list.length) throw new InvalidArgumentError('A port is there twice.');
  if (list.length === 2)
    throw new InvalidArgumentError('A cluster of two stops when either node does; give one port, or three or more.');
  if (list.length > 9) throw new InvalidArgumentError('More than 9 nodes are too many for one machine.');
  return list;
}

/** Some of the words in a list. */
export function someOf<T extends string>(all: readonly T[]): (text: string) => readonly T[] {
  return (text) =>
    text.split(',').map((word) => {
      const found = all.find((one) => one === word.trim());
      if (found === undefined) throw new InvalidArgumentError(`"${word}" is none of ${all.join(', ')}.`);
      return found;
    });
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
