import { describe, expect, it } from 'vitest';
import { hiddenFromPeers } from '../../src/cli/node.js';
import * as values from '../../src/cli/values.js';
import { formatAddress, isLoopback, parseAddress } from '../../src/client/address.js';

describe('values of flags', () => {
  it('reads durations in their units', () => {
    const read = values.duration(1, 10_000_000);
    expect(['500', '500ms', '5s', '1.5s', '2m', '1h'].map(read)).toEqual([500, 500, 5_000, 1_500, 120_000, 3_600_000]);
    for (const bad of ['', '5 s', '-1', '5d', 's', '0']) expect(() => read(bad)).toThrow('It should be a time');
  });

  it('reads sizes in their units', () => {
    const read = values.size(0, 4 * 1024 ** 3);
    expect(['0', '10', '1kb', '1KiB', '512MiB', '2GiB', '1.5GB'].map(read)).toEqual([
      0,
      10,
      1_000,
      1_024,
      512 * 1024 ** 2,
      2 * 1024 ** 3,
      1_500_000_000,
    ]);
    for (const bad of ['', '5GiB', '-1', '1TB', 'GB']) expect(() => read(bad)).toThrow('It should be a size');
    expect(() => values.size(1, 1_048_576)('2GiB')).toThrow('It should be a size from 1 byte to 1MiB.');
    expect(values.size(1_048_576, 2_097_152, 'none')('0')).toBe(0);
  });

  it('reads ranges, lists of ports and lists of peers', () => {
    expect(values.durationRange(10, 1_000)('400-800')).toEqual([400, 800]);
    expect(values.ports('8080')).toEqual([8080]);
    expect(values.ports('8080,8081,8082')).toEqual([8080, 8081, 8082]);
    expect(values.peers('1=127.0.0.1:8080, 2=[::1]:8081,3=db.example:8082')).toEqual([
      { id: 1, address: '127.0.0.1:8080' },
      { id: 2, address: '[::1]:8081' },
      { id: 3, address: 'db.example:8082' },
    ]);
  });
});

describe('addresses', () => {
  it('are host:port, with brackets around IPv6', () => {
    for (const text of ['127.0.0.1:8080', 'localhost:1', '[::1]:8080', 'db-1.example.org:65535'])
      expect(formatAddress(parseAddress(text))).toBe(text);
    expect(parseAddress('[::1]:8080').host).toBe('::1');
  });

  it.each([
    '',
    ':8080',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '::1:8080',
    'a b:1',
    'http://a:1',
  ])('are not %j', (text) => {
    expect(() => parseAddress(text)).toThrow('is not an address; it should be host:port');
  });

  it('of this machine alone are known', () => {
    expect(['127.0.0.1', '127.1.2.3', 'localhost', '::1'].every(isLoopback)).toBe(true);
    expect(['0.0.0.0', '::', '10.0.0.1', '127.evil.example', 'example.org'].some(isLoopback)).toBe(false);
  });

  it('that --peers promises and --host does not keep are told', () => {
    const peers = [
      { id: 1, address: '10.0.0.1:9001' },
      { id: 2, address: '127.0.0.1:9002' },
    ];
    expect(hiddenFromPeers({ id: 1, host: '127.0.0.1', peers })).toContain('pass --host 10.0.0.1 --insecure');
    expect(hiddenFromPeers({ id: 1, host: '0.0.0.0', peers })).toBeUndefined();
    expect(hiddenFromPeers({ id: 2, host: '127.0.0.1', peers })).toBeUndefined();
    expect(hiddenFromPeers({ id: 1, host: '127.0.0.1', peers: undefined })).toBeUndefined();
  });
});
