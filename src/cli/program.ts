/**
 * The command line: which commands there are, their flags, and what --help says. What a command does is in a file of its
 * own, loaded when it is run, so that `distributed cli` does not load a database.
 *
 * Every flag has an environment variable. Errors are one line on stderr: exit code 2 for a wrong use, else 1.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { type BenchOperation, benchOperations } from '../bench/workload.js';
import {
  type Address,
  defaultAddress,
  formatAddress,
  isLoopback,
  isWildcard,
  parseAddress,
} from '../client/address.js';
import { defaultNodeOptions, type LogLevel, type PeerAddress, type ReadMode, readModes } from '../node/options.js';
import type { ClusterRequest } from '../protocol/cluster.js';
import { connectionLimit } from './descriptors.js';
import { CliError, logLevels, tell } from './report.js';
import * as values from './values.js';

/** A flag with its environment variable, `--data-dir`: DISTRIBUTED_DATA_DIR. */
function flag(flags: string, description: string): Option {
  const name = /--([a-z-]+)/.exec(flags)![1]!;
  return new Option(flags, description).env(`DISTRIBUTED_${name.replaceAll('-', '_').toUpperCase()}`);
}

const storeFlag = () => flag('--store <kind>', 'what holds the data').choices(['wasm', 'js']).default('wasm');
const logFlag = () => flag('--log-level <level>', 'least grave lines to log').choices(logLevels);
const timeoutFlag = () =>
  flag('--timeout <time>', 'how long a node may owe an answer before another is tried')
    .argParser(values.duration(10, 3_600_000))
    .default(15_000, '15s');
const reconnectFlag = () =>
  flag('--reconnect <time>', 'how long to look for another node')
    .argParser(values.duration(0, 3_600_000))
    .default(5_000, '5s');

/** `distributed help cli` is `distributed cli --help`. */
function spellOut(program: Command, argv: readonly string[]): readonly string[] {
  const [node, script, first, ...rest] = argv;
  if (first !== 'help') return argv;
  const [name] = rest;
  if (name !== undefined && !program.commands.some((command) => command.name() === name))
    throw new CliError(`unknown command '${name}'; distributed --help lists the commands`, 2);
  return [node!, script!, ...rest, '--help'];
}

/** Runs the command line; resolves with the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const finish = (code: number) => {
    exitCode = code;
  };
  try {
    const program = makeProgram(finish);
    await program.parseAsync(spellOut(program, argv));
    return exitCode;
  } catch (error) {
    // Commander has told its own errors already; asking for help or the version is none.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    tell(error instanceof Error ? error.message : String(error));
    return error instanceof CliError ? error.exitCode : 1;
  }
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return String(version);
}

/** Commander's errors in fewer words. */
function plainly(text: string): string {
  return text
    .replace(/^error: /, '')
    .replace(/^command-argument value ('.*') is invalid for argument '\w+'\./, '$1 is invalid.');
}

function makeProgram(finish: (code: number) => void): Command {
  const program = new Command('distributed');
  program
    .description(
      'A strongly consistent, transactional key-value store. Without a command it starts a node; see the commands for the rest.',
    )
    .usage('[options]  or  distributed COMMAND …')
    .version(version())
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: (text) => tell(plainly(text)) });
  addUp(program, finish);
  addCli(program, finish);
  addStatus(program, finish);
  addCluster(program, finish);
  addBench(program);
  // Last: its own leave to have excess arguments (which it names better) is not passed on to the others.
  addNode(program, finish);
  return program;
}

// ── A node ───────────────────────────────────────────────────────────────────────────────────────────────────────────

interface NodeFlags {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly dataDir?: string;
  readonly peers?: readonly PeerAddress[];
  readonly join?: readonly string[];
  readonly firstNode: string;
  readonly store: 'wasm' | 'js';
  readonly requestTimeout: number;
  readonly heartbeat: number;
  readonly election: readonly [number, number];
  readonly transactionTimeout: number;
  readonly read: ReadMode;
  readonly memoryLimit: number;
  readonly snapshotLogBytes: number;
  readonly logLevel: LogLevel;
  readonly insecure?: boolean;
}

const nodeHelp = `
Examples:
  distributed                                  a cluster of one on 127.0.0.1:8080
  distributed --id 2 --port 8081 --join 127.0.0.1:8080
                                               joins it: a learner first, a voter by itself
  distributed --id 2 --port 8081 --peers 1=127.0.0.1:8080,2=127.0.0.1:8081,3=127.0.0.1:8082
                                               one of three; the same --peers on all of them
  distributed up                               three nodes on this machine and the CLI
  printf 'SET a b\\nGET a\\n' | distributed cli  commands from a script
  distributed status                           how the members are
  distributed cluster remove 2                 takes a member out

How reads are answered (--read):
  quorum  the leader asks a majority whether it still leads: linearizable, whatever clocks do
  lease   it does not ask if it heard of a majority a moment ago: linearizable as long as no
          member's clock runs 10 % faster than another's during nine tenths of the least
          --election time. Pass the same --read and --election on all members
  stale   this node answers by itself: also without a leader, and maybe old, but never older
          than what the connection wrote or read before; GET key STALE tells the revision

A node prints one line on standard output when it serves, its log goes to standard error.
SIGTERM and SIGINT stop it in good order. Its state is in the data folder; the folder, not the
flags, says which cluster it belongs to once it does. A node with an empty folder that is not
node 1 and is given neither --join nor --peers asks 127.0.0.1:8080, for 10 s. One whose folder was
lost is started as before, and replaces itself. A node that is removed stops by itself, and says so.

Each flag can be given by its environment variable; the flag wins.
Exit codes: 0 stopped as told, or removed from its cluster; 1 an error, told in one line; 2 a wrong
use of the program.
'distributed help COMMAND' tells more of a command.`;

function addNode(program: Command, finish: (code: number) => void): void {
  const defaults = defaultNodeOptions;
  program
    .addOption(flag('--id <n>', 'number of this node in its cluster').argParser(values.integer(1, 65_535)).default(1))
    .addOption(flag('--host <host>', 'address to listen on').default(defaults.host))
    .addOption(
      flag('--port <n>', 'port for clients and peers; 0 takes any free one')
        .argParser(values.integer(0, 65_535))
        .default(defaults.port),
    )
    .addOption(flag('--data-dir <folder>', 'where the state is kept (default: data/node-<id>)'))
    .addOption(flag('--peers <list>', 'all members, this one too: 1=host:port,2=host:port,…').argParser(values.peers))
    .addOption(
      flag('--join <list>', 'members of a cluster to join, with an empty folder: host:port,…').argParser(
        values.joinList,
      ),
    )
    .addOption(
      new Option('--first-node <address>', 'whom to ask without --join')
        .env('DISTRIBUTED_FIRST_NODE')
        .argParser((text) => formatAddress(values.address(text)))
        .default(defaults.firstNode)
        .hideHelp(),
    )
    .addOption(storeFlag())
    .addOption(
      flag('--request-timeout <time>', 'how long a command waits for a majority')
        .argParser(values.duration(10, 3_600_000))
        .default(defaults.requestTimeoutMs, '5s'),
    )
    .addOption(
      flag('--read <mode>', 'how reads are answered: quorum, lease or stale').choices(readModes).default(defaults.read),
    )
    .addOption(
      flag('--transaction-timeout <time>', 'how long a transaction may be idle before it is rolled back')
        .argParser(values.duration(10, 86_400_000))
        .default(defaults.transactionIdleMs, '30s'),
    )
    .addOption(
      flag('--heartbeat <time>', "pause between a leader's signs of life")
        .argParser(values.duration(5, 60_000))
        .default(defaults.heartbeatMs, '100ms'),
    )
    .addOption(
      flag('--election <range>', 'silence of a leader after which another is elected, in ms')
        .argParser(values.durationRange(10, 600_000))
        .default(defaults.electionMs, '400-800'),
    )
    .addOption(
      flag('--memory-limit <size>', 'most bytes of data, for a new cluster; 0: none')
        .argParser(values.size(1024 ** 2, 4 * 1024 ** 3, 'none'))
        .default(defaults.memoryLimitBytes, '2GiB'),
    )
    .addOption(
      flag('--snapshot-log-bytes <size>', 'log behind which a snapshot is taken and the log shortened')
        .argParser(values.size(4_096, 1024 ** 4))
        .default(defaults.snapshotLogBytes, '64MiB'),
    )
    .addOption(logFlag().default('info'))
    .addOption(flag('--insecure', 'listen on an address that other machines reach, without authentication'))
    .addHelpText('after', nodeHelp)
    .allowExcessArguments()
    .action(async (flags: NodeFlags, command: Command) => {
      const [extra] = command.args;
      if (extra !== undefined)
        throw new CliError(`unknown command '${extra}'; distributed --help lists the commands`, 2);
      const options = nodeOptions({ ...flags, insecure: isOn(command, 'insecure') });
      const { runNode } = await import('./node.js');
      finish(await runNode(options));
    });
}

const switchValues: Readonly<Record<string, boolean>> = {
  '': false,
  0: false,
  false: false,
  no: false,
  1: true,
  true: true,
  yes: true,
};

/** A switch from the environment says yes or no; nothing else is taken for either. */
function isOn(command: Command, name: 'insecure'): boolean {
  if (command.getOptionValueSource(name) !== 'env') return command.getOptionValue(name) === true;
  const text = process.env.DISTRIBUTED_INSECURE ?? '';
  const on = switchValues[text.toLowerCase()];
  if (on === undefined)
    throw new CliError(
      `'${text}' from env 'DISTRIBUTED_INSECURE' is invalid. It should be 1, true or yes; or 0, false, no or empty.`,
      2,
    );
  return on;
}

/** Checks what one flag alone cannot tell. */
function nodeOptions(flags: NodeFlags) {
  const { id, host, port, peers, heartbeat, election } = flags;
  if (!isLoopback(host) && !flags.insecure)
    throw new CliError(
      `--host ${host} can be reached from other machines, and there is no authentication; pass --insecure to do it all the same`,
      2,
    );
  if (election[0] < 2 * heartbeat)
    throw new CliError(
      `--election must begin at ${2 * heartbeat} or more, twice --heartbeat, not at ${election[0]}`,
      2,
    );
  if (peers && flags.join) throw new CliError('--peers begins a cluster, --join enters one; pass one of them', 2);
  if (peers) checkPeers(peers, id, port);
  return {
    id,
    host,
    ...(isWildcard(host) ? { publicHost: hostname() } : {}),
    port,
    dataDir: flags.dataDir ?? join('data', `node-${id}`),
    peers,
    join: flags.join,
    firstNode: flags.firstNode,
    store: flags.store,
    requestTimeoutMs: flags.requestTimeout,
    heartbeatMs: heartbeat,
    electionMs: election,
    transactionIdleMs: flags.transactionTimeout,
    read: flags.read,
    memoryLimitBytes: flags.memoryLimit,
    snapshotLogBytes: flags.snapshotLogBytes,
    maxConnections: connectionLimit(),
    logLevel: flags.logLevel,
  };
}

function checkPeers(peers: readonly PeerAddress[], id: number, port: number): void {
  const own = peers.find((peer) => peer.id === id);
  if (!own) throw new CliError(`--peers lists all members; node ${id}, which this is (--id), is not among them`, 2);
  if (parseAddress(own.address).port !== port)
    throw new CliError(`--peers says that node ${id} is at ${own.address}, but --port is ${port}`, 2);
}

// ── A cluster on this machine ────────────────────────────────────────────────────────────────────────────────────────

interface UpFlags {
  readonly ports: readonly number[];
  readonly dataDir: string;
  readonly store: 'wasm' | 'js';
  readonly logLevel?: LogLevel;
  readonly timeout: number;
  readonly reconnect: number;
}

const upHelp = `
Examples:
  distributed up
  distributed up --ports 9001,9002,9003 --data-dir /tmp/try

The nodes are processes of their own; one that dies is started again. Ctrl-C, SIGTERM or leaving the
CLI stops them all, a second Ctrl-C at once. Other settings of the nodes are taken from the
environment (DISTRIBUTED_REQUEST_TIMEOUT, …; see distributed --help).
Exit codes: 0 stopped as told; 1 an error, such as a port in use; 2 a wrong use of the program.`;

function addUp(program: Command, finish: (code: number) => void): void {
  program
    .command('up')
    .summary('start three nodes on this machine, and the CLI on a terminal')
    .description('Starts nodes on this machine, one for each port, and the CLI if standard input is a terminal.')
    .addOption(
      flag('--ports <list>', 'a node listens on each')
        .argParser(values.ports)
        .default([8080, 8081, 8082], '8080,8081,8082'),
    )
    .addOption(flag('--data-dir <folder>', 'node <id> keeps its state in node-<id> under it').default('data'))
    .addOption(storeFlag())
    .addOption(logFlag().default(undefined, 'info; error on a terminal'))
    .addOption(timeoutFlag())
    .addOption(reconnectFlag())
    .addHelpText('after', upHelp)
    .action(async (flags: UpFlags) => {
      const { runUp } = await import('./up.js');
      const { ports, dataDir, store, logLevel, timeout, reconnect } = flags;
      finish(await runUp({ ports, dataDir, store, logLevel, timeoutMs: timeout, reconnectMs: reconnect }));
    });
}

// ── Clients ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const nodesToTry =
  'nodes to try, as host:port (default: those in DISTRIBUTED_PEERS, else 127.0.0.1:8080, 8081 and 8082)';

/** The members that the environment lists, else those of `distributed up`. */
function defaultAddresses(): readonly Address[] {
  const list = process.env.DISTRIBUTED_PEERS;
  if (!list) return [8080, 8081, 8082].map((port) => ({ ...defaultAddress, port }));
  try {
    return values.peers(list).map((peer) => parseAddress(peer.address));
  } catch (error) {
    throw new CliError(`'${list}' from env 'DISTRIBUTED_PEERS' is invalid. ${(error as Error).message}`, 2);
  }
}

interface CliFlags {
  readonly timeout: number;
  readonly reconnect: number;
}

const cliHelp = `
Examples:
  distributed cli
  distributed cli 127.0.0.1:8081 127.0.0.1:8082
  printf 'SET a b\\nGET a\\n' | distributed cli

On a terminal: Tab completes, arrows recall, Ctrl-C drops the line or stops waiting, Ctrl-D and QUIT
leave. HELP lists the commands of the database, HELP SET explains one. The lines are kept in
DISTRIBUTED_HISTORY (default ~/.local/state/distributed/history; empty: not kept).

From a pipe: one line of reply for each line of input, and nothing else. A line without a newline at
the end of the input is not run, for it may have been cut.

When its node dies, the CLI goes on with another member. A write or COMMIT that was under way is
sent again there, and happens once ('UNKNOWN disconnected …' if that cannot be learned). An open
transaction is rolled back: its commands get 'ERR aborted …' until COMMIT, ROLLBACK or the next
BEGIN.

Exit codes: 0; 1 if (from a pipe) any reply was ERR or UNKNOWN, or nobody could be reached; 2 a
wrong use of the program.`;

function addCli(program: Command, finish: (code: number) => void): void {
  program
    .command('cli')
    .summary('talk to a cluster, on a terminal or from a pipe')
    .description('Sends commands to a cluster and prints the replies.')
    .argument('[addresses...]', nodesToTry, values.addresses)
    .addOption(timeoutFlag())
    .addOption(reconnectFlag())
    .addHelpText('after', cliHelp)
    .action(async (given: readonly Address[], flags: CliFlags) => {
      const { runCli } = await import('./cli.js');
      const addresses = given.length > 0 ? given : defaultAddresses();
      finish(await runCli({ addresses, timeoutMs: flags.timeout, reconnectMs: flags.reconnect }));
    });
}

const statusHelp = `
With --json: {"members":[{"id":1,"address":"…","voter":true,"reachable":true,"status":{…}}, …]},
where status is what the node's STATUS answers; a member that does not answer has a reason instead.
Exit codes: 0 while the cluster serves, also when some members are dead (told on standard error);
1 when nobody answers, there is no leader, or two nodes differ that must not; 2 a wrong use.`;

function addStatus(program: Command, finish: (code: number) => void): void {
  program
    .command('status')
    .summary('show the members of a cluster')
    .description('Asks a node who the members of its cluster are, then each of them how it is.')
    .argument('[addresses...]', nodesToTry, values.addresses)
    .option('--json', 'print JSON')
    .addHelpText('after', statusHelp)
    .action(async (given: readonly Address[], flags: { readonly json?: boolean }) => {
      const { runStatus } = await import('./status.js');
      const addresses = given.length > 0 ? given : defaultAddresses();
      finish(await runStatus(addresses, flags.json === true, (text) => process.stdout.write(text), tell));
    });
}

// ── The membership ───────────────────────────────────────────────────────────────────────────────────────────────────

const clusterHelp = `
Each command asks a node that --at names, and is carried out by the leader, wherever that is.

Examples:
  distributed cluster status
  distributed cluster remove 3 --at 127.0.0.1:8080
  distributed cluster transfer 2

A node joins with 'distributed --id 4 --port 8083 --join 127.0.0.1:8080'. Once it has caught up it
is a voter, by itself.
Exit codes: 0 done; 1 refused, or nobody could be asked; 2 a wrong use of the program.`;

interface ClusterFlags {
  readonly at?: readonly Address[];
  readonly json?: boolean;
}

function addCluster(program: Command, finish: (code: number) => void): void {
  const cluster = program
    .command('cluster')
    .summary('add and remove members, hand leadership over')
    .description('Shows and changes who belongs to a cluster.')
    .addHelpText('after', clusterHelp);
  const at = () => new Option('--at <list>', nodesToTry).argParser(values.addressList).env('DISTRIBUTED_AT');
  const id = values.integer(1, 65_535);
  const act = async (flags: ClusterFlags, request: ClusterRequest): Promise<void> => {
    const { runCluster } = await import('./cluster.js');
    finish(await runCluster(flags.at ?? defaultAddresses(), request, flags.json === true));
  };
  cluster
    .command('status')
    .description('Shows the members, those that are invited or were removed among them, as the leader knows them.')
    .addOption(at())
    .option('--json', 'print JSON')
    .action((flags: ClusterFlags) => act(flags, { request: 'status' }));
  cluster
    .command('add')
    .description('Invites a node: also one whose id was removed before may join then. Prints how to start it.')
    .argument('<id>', 'its --id', id)
    .argument('<address>', 'host:port at which the members will reach it', values.address)
    .addOption(at())
    .action((n: number, address: Address, flags: ClusterFlags) =>
      act(flags, { request: 'add', id: n, address: formatAddress(address) }),
    );
  cluster
    .command('remove')
    .description('Takes a member out: its node stops by itself, and its id may not join again unless it is added.')
    .argument('<id>', 'number of the member', id)
    .addOption(at())
    .action((n: number, flags: ClusterFlags) => act(flags, { request: 'remove', id: n }));
  cluster
    .command('transfer')
    .description('Hands leadership over to a voter; without an id, to the one that is best prepared.')
    .argument('[id]', 'number of the voter', id)
    .addOption(at())
    .action((to: number | undefined, flags: ClusterFlags) =>
      act(flags, to === undefined ? { request: 'transfer' } : { request: 'transfer', to }),
    );
}

// ── Benchmarks ───────────────────────────────────────────────────────────────────────────────────────────────────────

function addBench(program: Command): void {
  const bench = program
    .command('bench')
    .summary('measure the store or a cluster on this machine')
    .description('Measures the store or a cluster. Results go to standard output, progress to standard error.');
  addBenchStore(bench);
  addBenchCluster(bench);
}

const benchStoreHelp = `
Compares, on the same bytes and with the same answers: wasm (the store of a node), js (the same in
plain TypeScript) and map (a bare Map without versions and hash, the least that a program can do).

Examples:
  distributed bench store
  distributed bench store --keys 1000000 --only set,get --json`;

interface BenchStoreFlags {
  readonly keys: number;
  readonly valueSize: number;
  readonly seconds: number;
  readonly only?: readonly BenchOperation[];
  readonly json?: boolean;
}

function addBenchStore(bench: Command): void {
  bench
    .command('store')
    .summary('the WebAssembly store against TypeScript, without a network')
    .description('Measures the stores side by side: operations in batches of 1, 16 and 128.')
    .addOption(
      new Option('--keys <n>', 'keys in the store').argParser(values.integer(256, 100_000_000)).default(200_000),
    )
    .addOption(new Option('--value-size <bytes>', 'size of a value').argParser(values.size(1, 1_048_576)).default(100))
    .addOption(
      new Option('--seconds <n>', 'time for a row and repeat').argParser(values.decimal(0.001, 3_600)).default(0.3),
    )
    .addOption(
      new Option('--only <list>', `some of ${benchOperations.join(', ')}`).argParser(values.someOf(benchOperations)),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', benchStoreHelp)
    .action(async (flags: BenchStoreFlags) => {
      const { benchStore } = await import('../bench/bench.js');
      await benchStore(flags);
    });
}

const benchClusterHelp = `
Each client sends its next request when it has the answer to the one before (closed loop), from a
process of their own. Without addresses three nodes are started, and stopped afterwards.

Examples:
  distributed bench cluster --baseline
  distributed bench cluster 127.0.0.1:8080 127.0.0.1:8081 --clients 50 --pipeline 32`;

interface BenchClusterFlags {
  readonly clients: number;
  readonly pipeline: number;
  readonly readRatio: number;
  readonly seconds: number;
  readonly valueSize: number;
  readonly keys: number;
  readonly baseline?: boolean;
  readonly json?: boolean;
}

function addBenchCluster(bench: Command): void {
  bench
    .command('cluster')
    .summary('clients against a cluster, on sockets')
    .description('Measures throughput and latency of a cluster.')
    .argument('[addresses...]', 'nodes, as host:port (default: three nodes started here)', values.addresses)
    .addOption(new Option('--clients <n>', 'connections').argParser(values.integer(1, 10_000)).default(100))
    .addOption(
      new Option('--pipeline <n>', 'requests under way on each connection')
        .argParser(values.integer(1, 4_096))
        .default(1),
    )
    .addOption(
      new Option('--read-ratio <n>', 'share of GETs, the rest are SETs').argParser(values.decimal(0, 1)).default(0),
    )
    .addOption(
      new Option('--seconds <n>', 'time of each measurement').argParser(values.decimal(0.1, 86_400)).default(5),
    )
    .addOption(new Option('--value-size <bytes>', 'size of a value').argParser(values.size(1, 1_048_576)).default(100))
    .addOption(new Option('--keys <n>', 'different keys').argParser(values.integer(1, 100_000_000)).default(10_000))
    .option('--baseline', 'measure a bare Node server in turn with the cluster, and print the ratio')
    .option('--json', 'print JSON')
    .addHelpText('after', benchClusterHelp)
    .action(async (given: readonly Address[], flags: BenchClusterFlags) => {
      const { benchCluster } = await import('../bench/bench.js');
      await benchCluster({ ...flags, addresses: given.map(formatAddress) });
    });
}
