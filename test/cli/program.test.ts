import { afterEach, describe, expect, it, vi } from 'vitest';
import { run } from '../../src/cli/program.js';

afterEach(() => vi.restoreAllMocks());

/** Runs the command line in this process. */
async function distributed(
  args: string,
  env: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      printed[name] += String(text);
      return true;
    });
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  try {
    const code = await run(['node', 'distributed', ...args.split(' ').filter((word) => word !== '')]);
    return { code, ...printed };
  } finally {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  }
}

describe('a wrong use is told in one line and ends with 2', () => {
  it.each([
    ['frobnicate', /^distributed: unknown command 'frobnicate'; distributed --help lists the commands$/],
    ['--prot 1', /^distributed: unknown option '--prot' \(Did you mean --port\?\)$/],
    ['--port', /^distributed: option '--port <n>' argument missing$/],
    ['--port 65536', /'65536' is invalid\. It should be a whole number from 0 to 65535\.$/],
    ['--port 80.5', /It should be a whole number from 0 to 65535\.$/],
    ['--id 0', /It should be a whole number from 1 to 65535\.$/],
    ['--id 1e3', /It should be a whole number from 1 to 65535\.$/],
    ['--store rust', /Allowed choices are wasm, js\.$/],
    ['--log-level loud', /Allowed choices are debug, info, warn, error\.$/],
    ['--request-timeout soon', /It should be a time from 10ms to 3600000ms, such as 500ms or 5s\.$/],
    ['--memory-limit lots', /It should be a size from 1MiB to 4GiB, or 0 for none\.$/],
    ['--memory-limit 1KiB', /It should be a size from 1MiB to 4GiB, or 0 for none\.$/],
    ['--snapshot-log-bytes 1', /It should be a size from 4KiB to 1024GiB\.$/],
    ['bench store --value-size 2GiB', /It should be a size from 1 byte to 1MiB\.$/],
    ['help frobnicate', /^distributed: unknown command 'frobnicate'; distributed --help lists the commands$/],
    ['--election 400', /It should be a range of milliseconds from 10 to 600000, such as 400-800\.$/],
    ['--election 800-400', /It should be a range of milliseconds/],
    ['--election 150-300', /^distributed: --election must begin at 200 or more, twice --heartbeat, not at 150$/],
    ['--host 0.0.0.0', /^distributed: --host 0\.0\.0\.0 can be reached from other machines.*--insecure/],
    ['--host 192.168.0.1', /--insecure/],
    ['--peers 1', /"1" is not id=host:port/],
    ['--peers 1=127.0.0.1', /"127\.0\.0\.1" is not an address; it should be host:port/],
    ['--peers 0=127.0.0.1:8080', /is not id=host:port/],
    ['--peers 1=127.0.0.1:8080,1=127.0.0.1:8081', /The id 1 is there twice\.$/],
    ['--peers 1=127.0.0.1:8080,2=127.0.0.1:8080', /The address 127\.0\.0\.1:8080 is there twice\.$/],
    [
      '--id 3 --peers 1=127.0.0.1:8080,2=127.0.0.1:8081',
      /^distributed: --peers lists all members; node 3, .* is not among them$/,
    ],
    [
      '--id 2 --peers 1=127.0.0.1:8080,2=127.0.0.1:8081',
      /^distributed: --peers says that node 2 is at 127\.0\.0\.1:8081, but --port is 8080$/,
    ],
    [
      'cli nowhere',
      /^distributed: 'nowhere' is invalid\. "nowhere" is not an address; it should be host:port, such as 127\.0\.0\.1:8080\.$/,
    ],
    ['cli --port 8080', /unknown option '--port'/],
    ['status 127.0.0.1:0', /is not an address/],
    ['up --ports 8080,8080', /A port is there twice\.$/],
    ['up --ports 8080,8081', /A cluster of two stops when either node does; give one port, or three or more\.$/],
    ['up now', /too many arguments/],
    [
      '--peers 1=127.0.0.1:8080 --join 127.0.0.1:8081',
      /--peers begins a cluster, --join enters one; pass one of them$/,
    ],
    ['cluster remove', /missing required argument 'id'/],
    ['cluster add 0 127.0.0.1:8080', /It should be a whole number from 1 to 65535\.$/],
    ['cluster add 2 x', /"x" is not an address/],
    ['cluster status --at 127.0.0.1', /"127\.0\.0\.1" is not an address/],
    ['bench store --only set,put', /"put" is none of set, get, delete, mixed, txn, encode\.$/],
    ['bench cluster --read-ratio 2', /It should be a number from 0 to 1\.$/],
  ])('%s', async (args, message) => {
    const { code, stdout, stderr } = await distributed(args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^[^\n]*\n$/);
    expect(stderr.trimEnd()).toMatch(message);
  });
});

describe('every flag can be given by the environment', () => {
  it.each([
    ['DISTRIBUTED_PORT', 'x', /'x' from env 'DISTRIBUTED_PORT' is invalid/],
    ['DISTRIBUTED_ID', 'x', /'DISTRIBUTED_ID' is invalid/],
    ['DISTRIBUTED_HOST', '0.0.0.0', /--host 0\.0\.0\.0 can be reached/],
    ['DISTRIBUTED_PEERS', '2=127.0.0.1:8080', /node 1, which this is/],
    ['DISTRIBUTED_JOIN', 'x', /'DISTRIBUTED_JOIN' is invalid.*"x" is not an address/],
    ['DISTRIBUTED_FIRST_NODE', 'x', /'DISTRIBUTED_FIRST_NODE' is invalid/],
    ['DISTRIBUTED_AT', 'x', /'DISTRIBUTED_AT' is invalid/, 'cluster status'],
    ['DISTRIBUTED_STORE', 'x', /'DISTRIBUTED_STORE' is invalid/],
    ['DISTRIBUTED_REQUEST_TIMEOUT', 'x', /'DISTRIBUTED_REQUEST_TIMEOUT' is invalid/],
    ['DISTRIBUTED_TRANSACTION_TIMEOUT', 'x', /'DISTRIBUTED_TRANSACTION_TIMEOUT' is invalid/],
    ['DISTRIBUTED_HEARTBEAT', 'x', /'DISTRIBUTED_HEARTBEAT' is invalid/],
    ['DISTRIBUTED_ELECTION', 'x', /'DISTRIBUTED_ELECTION' is invalid/],
    ['DISTRIBUTED_MEMORY_LIMIT', 'x', /'DISTRIBUTED_MEMORY_LIMIT' is invalid/],
    ['DISTRIBUTED_SNAPSHOT_LOG_BYTES', 'x', /'DISTRIBUTED_SNAPSHOT_LOG_BYTES' is invalid/],
    ['DISTRIBUTED_LOG_LEVEL', 'x', /'DISTRIBUTED_LOG_LEVEL' is invalid/],
    ['DISTRIBUTED_PORTS', 'x', /'DISTRIBUTED_PORTS' is invalid/, 'up'],
    ['DISTRIBUTED_TIMEOUT', 'x', /'DISTRIBUTED_TIMEOUT' is invalid/, 'cli'],
    ['DISTRIBUTED_RECONNECT', 'x', /'DISTRIBUTED_RECONNECT' is invalid/, 'cli'],
  ])('%s', async (name, value, message, command = '') => {
    const { code, stderr } = await distributed(command, { [name]: value });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });

  it('DISTRIBUTED_DATA_DIR and DISTRIBUTED_INSECURE', async () => {
    const env = { DISTRIBUTED_DATA_DIR: '/nowhere/at/all', DISTRIBUTED_INSECURE: '1', DISTRIBUTED_HOST: '0.0.0.0' };
    // Far enough to know the folder and to have listened; a node 2 alone goes no further.
    const { code, stderr } = await distributed('--id 2 --port 0', env);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^distributed: node 2 has no data folder yet \(\/nowhere\/at\/all\).*--join .*--peers.*\n$/);
  });

  it('but the flag wins', async () => {
    const { stderr } = await distributed('--id 7', { DISTRIBUTED_ID: 'x', DISTRIBUTED_PEERS: '2=127.0.0.1:8080' });
    expect(stderr).toMatch(/node 7, which this is/);
  });

  it.each(['false', '0', 'No', ''])('and a switch that says no (%j) is off', async (no) => {
    const { code, stderr } = await distributed('--host 0.0.0.0', { DISTRIBUTED_INSECURE: no });
    expect(code).toBe(2);
    expect(stderr).toMatch(/--insecure/);
  });

  it('and a switch that says neither is refused', async () => {
    const { code, stderr } = await distributed('--host 0.0.0.0', { DISTRIBUTED_INSECURE: 'banana' });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^distributed: 'banana' from env 'DISTRIBUTED_INSECURE' is invalid\. [^\n]*\n$/);
  });

  it.each(['cli', 'status'])('and %s tries the members that it lists', async (command) => {
    const peers = '1=127.0.0.1:1,2=127.0.0.1:2';
    const { code, stderr } = await distributed(command, { DISTRIBUTED_PEERS: peers });
    expect(code).toBe(1);
    expect(stderr).toBe(
      'distributed: no node answers: 127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused\n',
    );
    expect(await distributed(command, { DISTRIBUTED_PEERS: 'x' })).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/'DISTRIBUTED_PEERS' is invalid/),
    });
  });
});

describe('--help', () => {
  it('tells of every command, variable and exit code', async () => {
    const { code, stdout, stderr } = await distributed('--help');
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const word of ['up', 'cli', 'status', 'bench', '--data-dir', 'DISTRIBUTED_PORT', 'Exit codes', 'Examples'])
      expect(stdout).toContain(word);
  });

  it.each(['up', 'cli', 'status', 'bench store', 'bench cluster'])('explains %s', async (command) => {
    const { code, stdout } = await distributed(`${command} --help`);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples:|Exit codes/);
  });

  it('is what help tells too', async () => {
    expect(await distributed('help')).toEqual(await distributed('--help'));
    expect(await distributed('help bench store')).toEqual(await distributed('bench store --help'));
  });

  it('tells the defaults', async () => {
    const told = async (command: string) => (await distributed(`${command} --help`)).stdout.replace(/\s+/g, ' ');
    const node = await told('');
    for (const [name, value] of [
      ['--id', '1'],
      ['--port', '8080'],
      ['--request-timeout', '5s'],
      ['--transaction-timeout', '30s'],
      ['--store', '"wasm"'],
    ])
      expect(node).toMatch(new RegExp(`${name} [^)]*\\(.*?default: ${value}, env: `));
    for (const command of ['cli', 'status'])
      expect(await told(command)).toMatch(/default: those in DISTRIBUTED_PEERS, else 127\.0\.0\.1:8080, 8081 and 8082/);
    const store = await told('bench store');
    for (const text of ['--keys <n> keys in the store (default: 200000)', '(default: 100)', '(default: 0.3)'])
      expect(store).toContain(text);
    const cluster = await told('bench cluster');
    for (const [name, value] of [
      ['clients', 100],
      ['pipeline', 1],
      ['read-ratio', 0],
      ['seconds', 5],
      ['value-size', 100],
    ])
      expect(cluster).toMatch(new RegExp(`--${name} <\\w+> [^(]*\\(default: ${value}\\)`));
  });

  it('fits a terminal of 100 columns', async () => {
    for (const command of [
      '',
      'up',
      'cli',
      'status',
      'cluster',
      'cluster add',
      'cluster transfer',
      'bench store',
      'bench cluster',
    ]) {
      const { stdout } = await distributed(`${command} --help`);
      for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    }
  });
});
