/**
 * `npm run soak`: the whole-cluster tests at any length.
 *
 *     npm run soak                     50 rounds of kills, and as much of the others
 *     npm run soak -- --rounds 200     so many rounds of kills; the other tests grow with it
 *     npm run soak -- --seconds 3600   one pass after the other until the time is over
 *
 * A pass runs three files of test/cluster: durability (no acknowledged write is lost while nodes are killed), bank (the sum
 * is right in every audit) and linearizable (no client saw anything impossible). Ends with 1 at the first failure.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = ['durability', 'bank', 'linearizable'].map((name) => `test/cluster/${name}.test.ts`);

function positive(name, text) {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  process.stderr.write(`soak: --${name} must be a number above 0, not ${text}\n`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({ options: { rounds: { type: 'string' }, seconds: { type: 'string' } } }).values;
  } catch (error) {
    process.stderr.write(`soak: ${error.message}; it takes --rounds N or --seconds N\n`);
    process.exit(2);
  }
}

/** One run of the files with these variables; its exit code. */
function pass(variables) {
  const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));
  const args = [vitest, 'run', ...files, '--no-file-parallelism', '--disable-console-intercept'];
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...variables } });
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}

const { rounds = '50', seconds } = options();
if (seconds === undefined) {
  const count = positive('rounds', rounds);
  process.exit(await pass({ SOAK_ROUNDS: String(count), SOAK_FACTOR: String(Math.max(1, Math.round(count / 10))) }));
}
const deadline = performance.now() + positive('seconds', seconds) * 1000;
for (let number = 1; performance.now() < deadline; number++) {
  const left = (deadline - performance.now()) / 1000;
  process.stdout.write(`soak: pass ${number}, ${Math.round(left)} s left\n`);
  const code = await pass({ SOAK_SECONDS: String(Math.max(5, Math.min(60, left / 2))), SOAK_FACTOR: '1' });
  if (code !== 0) process.exit(code);
}
