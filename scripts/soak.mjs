/**
 * `npm run soak`: the whole-cluster tests at any length, and whole what `npm test` takes samples of.
 *
 *     npm run soak                     all of these: what is sampled, endurance, and 50 rounds
 *     npm run soak -- --whole          only what is sampled
 *     npm run soak -- --endurance      only ten minutes of full load, and 50 deaths of leaders
 *     npm run soak -- --rounds 200     only so many rounds of kills; the other tests grow with it
 *     npm run soak -- --seconds 3600   only these, one pass after the other until the time is over
 *
 * Whole: each bit of a log of 64 KiB and of the vote flipped, 5,000 states of the disk that crashes leave, 2 million malformed lines and
 * frames, 5 million operations on both stores.
 *
 * Endurance: nobody is elected under full load, folders and memory stay small, and writes go on soon when a leader dies.
 *
 * A pass runs three files of test/cluster: durability (no acknowledged write is lost while nodes are killed), bank (the sum
 * is right in every audit) and linearizable (no client saw anything impossible). Ends with 1 at the first failure.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const lasting = ['test/cluster/endurance.test.ts'];
const clusters = ['durability', 'bank', 'linearizable'].map((name) => `test/cluster/${name}.test.ts`);
const sampled = {
  'test/log/flips.test.ts': { LOG_FLIP_EVERY: '1' },
  'test/log/crash-states.test.ts': { LOG_CRASH_STATES: '5000' },
  'test/protocol/fuzz.test.ts': { FUZZ_INPUTS: '2000000' },
  'test/store/differential.test.ts': { DIFFERENTIAL_OPS: '5000000' },
};

function positive(name, text) {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  process.stderr.write(`soak: --${name} must be a number above 0, not ${text}\n`);
  process.exit(2);
}

function options() {
  try {
    const [number, flag] = [{ type: 'string' }, { type: 'boolean' }];
    const options = { rounds: number, seconds: number, whole: flag, endurance: flag };
    return parseArgs({ options }).values;
  } catch (error) {
    process.stderr.write(`soak: ${error.message}; it takes --whole, --endurance, --rounds N or --seconds N\n`);
    process.exit(2);
  }
}

/** One run of the files with these variables; its exit code. */
function pass(variables, files = clusters) {
  const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
  const args = [vitest, 'run', ...files, '--no-file-parallelism', '--disable-console-intercept'];
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...variables } });
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}

const { rounds, seconds, whole, endurance } = options();
const all = ![rounds, seconds, whole, endurance].some((value) => value !== undefined);
if (all || whole) {
  const code = await pass(Object.assign({}, ...Object.values(sampled)), Object.keys(sampled));
  if (code !== 0 || whole) process.exit(code);
}
if (all || endurance) {
  const code = await pass({ SOAK_LOAD_SECONDS: '600', SOAK_LEADER_DEATHS: '50' }, lasting);
  if (code !== 0 || endurance) process.exit(code);
}
if (seconds === undefined) {
  const count = positive('rounds', rounds ?? '50');
  process.exit(await pass({ SOAK_ROUNDS: String(count), SOAK_FACTOR: String(Math.max(1, Math.round(count / 10))) }));
}
const deadline = performance.now() + positive('seconds', seconds) * 1000;
for (let number = 1; performance.now() < deadline; number++) {
  const left = (deadline - performance.now()) / 1000;
  process.stdout.write(`soak: pass ${number}, ${Math.round(left)} s left\n`);
  const code = await pass({ SOAK_SECONDS: String(Math.max(5, Math.min(60, left / 2))), SOAK_FACTOR: '1' });
  if (code !== 0) process.exit(code);
}
