/**
 * The yardstick of the cluster benchmark: a bare Node TCP server that answers `OK` to each line and does nothing else. What it
 * reaches on a machine is what sockets cost there; nothing written in Node can be faster.
 *
 * A process of its own, started with a channel: it tells its port, and ends with its parent.
 */
import { createServer } from 'node:net';

const NEWLINE = 10;
const LINES = 65_536;
const replies = Buffer.alloc('OK\n'.length * LINES, 'OK\n');

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('data', (chunk) => {
    let lines = 0;
    for (let i = 0; i < chunk.length; i++) if (chunk[i] === NEWLINE) lines++;
    for (; lines > 0; lines -= LINES) socket.write(replies.subarray(0, 'OK\n'.length * Math.min(lines, LINES)));
  });
  socket.on('error', () => {});
});
server.listen({ port: 0, host: '127.0.0.1' }, () => {
  const address = server.address();
  process.send?.({ port: typeof address === 'object' && address ? address.port : 0 });
});
process.on('disconnect', () => process.exit(0));
