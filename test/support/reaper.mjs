/**
 * Outlives the test process by a moment, to end what it started: node processes (also stopped ones) and temporary
 * folders. Its standard input is a pipe from the tests: lines `+pid`, `-pid`, `folder <path>`. When the pipe closes,
 * however the tests ended, all that is still listed goes.
 */
import { rmSync } from 'node:fs';

const pids = new Set();
const folders = new Set();
let text = '';

process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk) => {
  const lines = (text + chunk).split('\n');
  text = lines.pop() ?? '';
  for (const line of lines) {
    if (line.startsWith('+')) pids.add(Number(line.slice(1)));
    else if (line.startsWith('-')) pids.delete(Number(line.slice(1)));
    else if (line.startsWith('folder ')) folders.add(line.slice('folder '.length));
    else if (line.startsWith('gone ')) folders.delete(line.slice('gone '.length));
  }
});
process.stdin.on('end', () => {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // it has ended by itself
    }
  }
  // A killed process may still be writing for an instant.
  setTimeout(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }, 200);
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {});
