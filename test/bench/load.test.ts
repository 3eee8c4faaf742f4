import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type LoadOptions, runLoad } from '../../src/bench/load.js';

let server: Server | undefined;
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
});

/** A server that answers each line with what `reply` says; what it received is in the array. */
async function serve(reply: (line: string, socket: Socket) => string): Promise<{ port: number; lines: string[] }> {
  const lines: string[] = [];
  server = createServer((socket) => {
    sockets.push(socket);
    let rest = '';
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (text: string) => {
      const parts = (rest + text).split('\n');
      rest = parts.pop()!;
      lines.push(...parts);
      const answer = parts.map((line) => reply(line, socket)).join('');
      // In two pieces, so that replies are cut anywhere.
      socket.write(answer.slice(0, answer.length / 2), 'latin1');
      setImmediate(() => socket.write(answer.slice(answer.length / 2), 'latin1'));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, lines };
}

function options(port: number, more: Partial<LoadOptions>): LoadOptions {
  const targets = [{ host: '127.0.0.1', port }];
  const small = { clients: 4, pipeline: 1, readRatio: 0, seconds: 0.2, valueSize: 10, keys: 100 };
  return { targets, ...small, warmupSeconds: 0.05, preload: false, ...more };
}

describe('the load generator', () => {
  it('counts exactly the commands that the server saw', async () => {
    const { port, lines } = await serve((line) => (line.startsWith('SET') ? 'OK\n' : '"EUvalue"\n'));
    const result = await runLoad(options(port, { pipeline: 8, readRatio: 0.5 }));
    expect(result.sent.sets).toBe(lines.filter((line) => line.startsWith('SET ')).length);
    expect(result.sent.gets).toBe(lines.filter((line) => line.startsWith('GET ')).length);
    expect(result.sent.gets).toBeGreaterThan(lines.length / 3);
    expect(result.errors).toBe(0);
    expect(result.operations).toBeGreaterThan(0);
    expect(result.operations).toBeLessThan(lines.length);
    expect(result.micros.p50).toBeGreaterThan(0);
    expect(result.micros.p50).toBeLessThanOrEqual(result.micros.p999);
    for (const line of lines) expect(line).toMatch(/^(SET bench:\d{8} [A-Za-z0-9]{10}|GET bench:\d{8})$/);
  });

  it('counts ERR and UNKNOWN as errors, not as operations, and quotes them', async () => {
    let served = 0;
    const { port, lines } = await serve(() => {
      served++;
      return served % 4 === 0 ? 'ERR no-leader x\n' : served % 4 === 1 ? 'UNKNOWN timeout y\n' : 'OK\n';
    });
    const result = await runLoad(options(port, { clients: 1, pipeline: 4, warmupSeconds: 0 }));
    expect(result.errors).toBe(lines.length / 2);
    expect([...result.firstErrors].sort()).toEqual(['ERR no-leader x', 'UNKNOWN timeout y']);
    expect(result.operations).toBeLessThanOrEqual(lines.length / 2);
  });

  it('sets every key once first when asked to', async () => {
    const { port, lines } = await serve(() => 'OK\n');
    await runLoad(options(port, { readRatio: 1, preload: true }));
    const sets = lines.filter((line) => line.startsWith('SET')).map((line) => line.split(' ')[1]);
    expect(sets.length).toBe(100);
    expect(new Set(sets).size).toBe(100);
  });

  it('ends, and counts what was swallowed, when the server goes away', async () => {
    let served = 0;
    const { port } = await serve((_line, socket) => {
      if (++served > 50) socket.destroy();
      return 'OK\n';
    });
    const result = await runLoad(options(port, { pipeline: 4 }));
    expect(result.errors).toBeGreaterThan(0);
    expect(result.firstErrors.join()).toContain('the connection ended');
  });

  it('says which address does not answer', async () => {
    const { port } = await serve(() => 'OK\n');
    server!.close();
    await once(server!, 'close');
    await expect(runLoad(options(port, {}))).rejects.toThrow(`127.0.0.1:${port}`);
  });
});
