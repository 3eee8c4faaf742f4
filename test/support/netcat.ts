/**
 * `nc -q1`: sends its input, then FIN, prints what comes, and ends when the other side has closed or a second has passed
 * since the input's end. The system's own where there is one that knows `-q`, else the same over a socket.
 */
import { spawn, spawnSync } from 'node:child_process';
import { connect } from 'node:net';

const isInstalled = (): boolean => {
  const { stdout, stderr } = spawnSync('nc', ['-h'], { encoding: 'utf8', input: '' });
  return /^\s+-q\b/m.test(`${stdout ?? ''}${stderr ?? ''}`);
};

export function netcat(port: number, input: string): Promise<string> {
  return isInstalled() ? bySystem(port, input) : bySocket(port, input);
}

function bySystem(port: number, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('nc', ['-q1', '127.0.0.1', String(port)], { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', reject);
    child.once('close', () => resolve(text));
    child.stdin.end(input);
  });
}

function bySocket(port: number, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.once('error', reject);
    socket.once('end', () => socket.destroy());
    socket.once('close', () => resolve(text));
    socket.end(input, () => setTimeout(() => socket.destroy(), 1000).unref());
  });
}
