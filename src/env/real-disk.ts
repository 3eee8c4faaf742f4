/**
 * `Disk` over node:fs.
 *
 * ## What is durable when
 *
 * - A file opened with `dsync`: each write, when it completes. On Linux by O_DSYNC, one system call; elsewhere by fdatasync
 *   after the write (on macOS only that reaches the platter: Node turns it into F_FULLFSYNC).
 * - Any other file: when `syncSync` returns.
 * - Names (creation, rename, removal): when `syncDir` of their folder returns. Windows offers nothing of the kind.
 *
 * ## The lock
 *
 * On Linux it is a listening unix socket with an abstract name made of the folder's device and inode: the kernel frees it
 * with the process, however it dies, and leaves nothing on disk that could be stale. Caveat: such names are per network
 * namespace, so two containers that share a folder but no network do not see each other's lock. Elsewhere it is a file
 * with the owner's process id, taken over when no such process lives.
 */
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  unlink,
  unlinkSync,
  write,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { type Disk, DiskError, type DiskFile, type OpenOptions } from './env.js';

const LINUX = process.platform === 'linux';
const WINDOWS = process.platform === 'win32';
/** Bytes of an abstract socket's name behind its leading zero: the whole of sun_path, so that no runtime pads it. */
const ABSTRACT_NAME = 107;
export const LOCK_FILE = 'lock';

const codes: Record<string, DiskError['code']> = {
  ENOENT: 'missing',
  EEXIST: 'exists',
  ENOSPC: 'full',
  EDQUOT: 'full',
};

function errno(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function diskError(action: string, path: string, error: unknown): DiskError {
  const told = error instanceof Error ? error.message : String(error);
  return new DiskError(codes[errno(error) ?? ''] ?? 'io', `cannot ${action} ${path}: ${told}`);
}

/** Runs a system call; its error becomes a DiskError that says what was tried on what. */
function attempt<T>(action: string, path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw diskError(action, path, error);
  }
}

class RealFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  /** Durability is by fdatasync after each write. */
  readonly #syncAfter: boolean;
  /** The write under way: what is left of it begins at `#from` of its bytes. */
  #writing:
    | { readonly bytes: Uint8Array; readonly position: number; readonly done: (error?: DiskError) => void }
    | undefined;
  #from = 0;
  #closed = false;
  readonly #wrote = (error: NodeJS.ErrnoException | null, written: number): void => {
    if (error) {
      this.#end(error);
      return;
    }
    this.#from += written;
    if (this.#from < this.#writing!.bytes.length) this.#writeOn();
    else if (this.#syncAfter) fdatasync(this.#fd, this.#end);
    else this.#end();
  };
  readonly #end = (error?: NodeJS.ErrnoException | null): void => {
    const { done } = this.#writing!;
    this.#writing = undefined;
    if (this.#closed) closeSync(this.#fd);
    else done(error ? diskError('write', this.path, error) : undefined);
  };

  constructor(path: string, fd: number, syncAfter: boolean) {
    this.path = path;
    this.#fd = fd;
    this.#syncAfter = syncAfter;
  }

  write(bytes: Uint8Array, position: number, done: (error?: DiskError) => void): void {
    this.#check();
    if (this.#writing) throw new Error(`two writes at once to ${this.path}`);
    this.#writing = { bytes, position, done };
    this.#from = 0;
    this.#writeOn();
  }

  #writeOn(): void {
    const { bytes, position } = this.#writing!;
    write(this.#fd, bytes, this.#from, bytes.length - this.#from, position + this.#from, this.#wrote);
  }

  writeSync(bytes: Uint8Array, position: number): void {
    this.#check();
    attempt('write', this.path, () => {
      let from = 0;
      while (from < bytes.length) from += writeSync(this.#fd, bytes, from, bytes.length - from, position + from);
      if (this.#syncAfter) fdatasyncSync(this.#fd);
    });
  }

  readSync(bytes: Uint8Array, position: number): number {
    this.#check();
    return attempt('read', this.path, () => {
      let from = 0;
      while (from < bytes.length) {
        const read = readSync(this.#fd, bytes, from, bytes.length - from, position + from);
        if (read === 0) break;
        from += read;
      }
      return from;
    });
  }

  syncSync(): void {
    this.#check();
    attempt('sync', this.path, () => fdatasyncSync(this.#fd));
  }

  size(): number {
    this.#check();
    return attempt('look at', this.path, () => fstatSync(this.#fd).size);
  }

  /** The descriptor of a write under way is closed after it: its number must not go to another file before. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#writing) closeSync(this.#fd);
  }

  #check(): void {
    if (this.#closed) throw new DiskError('io', `${this.path} is closed`);
  }
}

function exists(path: string): boolean {
  return attempt('look at', path, () => statSync(path, { throwIfNoEntry: false }) !== undefined);
}

function open(path: string, options: OpenOptions = {}): DiskFile {
  const byFlag = LINUX && constants.O_DSYNC !== undefined;
  let flags = constants.O_RDWR;
  if (options.create) flags |= constants.O_CREAT;
  if (options.exclusive) flags |= constants.O_EXCL;
  if (options.dsync && byFlag) flags |= constants.O_DSYNC;
  const fd = attempt('open', path, () => openSync(path, flags, 0o600));
  return new RealFile(path, fd, options.dsync === true && !byFlag);
}

function syncDir(path: string): void {
  if (WINDOWS) return;
  attempt('sync', path, () => {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  });
}

/** The folder is there already; its name may have been made by a process that died before it was durable. */
function syncParent(path: string): void {
  try {
    syncDir(dirname(path));
  } catch (error) {
    // A parent that may not be read (EACCES) belongs to somebody else, who made the folder long ago.
    if (!(error instanceof DiskError) || !/\b(EACCES|EPERM)\b/.test(error.message)) throw error;
  }
}

function mkdir(path: string): void {
  const whole = resolve(path);
  if (exists(whole)) {
    if (!statSync(whole).isDirectory()) throw new DiskError('io', `${whole} is not a folder`);
    syncParent(whole);
    return;
  }
  mkdir(dirname(whole));
  try {
    mkdirSync(whole, 0o700);
  } catch (error) {
    if (errno(error) !== 'EEXIST') throw diskError('make the folder', whole, error);
  }
  syncDir(dirname(whole));
}

type Lock = { release(): void };

/** Listens on the abstract name of the folder. */
function lockBySocket(path: string): Promise<Lock | undefined> {
  const { dev, ino } = attempt('look at', path, () => statSync(path, { bigint: true }));
  const name = `\0${`distributed-lock-${dev}-${ino}-`.padEnd(ABSTRACT_NAME, '.')}`;
  return new Promise((resolved, rejected) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => {
      if (errno(error) === 'EADDRINUSE') resolved(undefined);
      else rejected(diskError('lock', path, error));
    });
    server.listen({ path: name, exclusive: true }, () => {
      server.unref();
      resolved({ release: () => server.close() });
    });
  });
}

/** Lock files that this process holds: one that names this process and is not among them is left from an earlier life. */
const held = new Set<string>();

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errno(error) !== 'ESRCH';
  }
}

/** Who holds the lock file: 0 when nobody who lives. */
function holder(file: string): number {
  const pid = Number(readFileSync(file, 'utf8'));
  if (pid === process.pid) return held.has(file) ? pid : 0;
  return pid > 0 && lives(pid) ? pid : 0;
}

/** Makes the lock file, with its content from the first moment on; false when there is one. */
function claim(file: string): boolean {
  const made = `${file}.${process.pid}.new`;
  try {
    writeFileSync(made, String(process.pid), { mode: 0o600 });
    linkSync(made, file);
    return true;
  } catch (error) {
    if (errno(error) === 'EEXIST') return false;
    throw diskError('lock', file, error);
  } finally {
    rmSync(made, { force: true });
  }
}

/** The lock as a file, for systems without abstract sockets. Exported for its test. */
export function lockByFile(path: string): Lock | undefined {
  const file = join(resolve(path), LOCK_FILE);
  for (let attempts = 0; attempts < 3; attempts++) {
    if (claim(file)) {
      held.add(file);
      return {
        release: () => {
          if (held.delete(file)) unlinkSync(file);
        },
      };
    }
    if (!stale(file)) return undefined;
  }
  return undefined;
}

/** Removes the lock file of a holder that is dead; false when it lives. Renamed first, so that of two only one removes it. */
function stale(file: string): boolean {
  const aside = `${file}.${process.pid}`;
  try {
    if (holder(file) !== 0) return false;
    renameSync(file, aside);
    const live = holder(aside) !== 0;
    if (live) renameSync(aside, file);
    else unlinkSync(aside);
    return !live;
  } catch (error) {
    if (errno(error) === 'ENOENT') return true;
    throw diskError('lock', file, error);
  }
}

/** What a process without privileges may take. */
function free(path: string): number {
  const { bavail, bsize } = attempt('look at', path, () => statfsSync(path));
  return bavail * bsize;
}

/** The machine's disk. */
export function realDisk(): Disk {
  return {
    mkdir,
    list: (path) => attempt('list', path, () => readdirSync(path).sort()),
    exists,
    open,
    rename: (from, to) => attempt('rename', from, () => renameSync(from, to)),
    unlink: (path) => attempt('remove', path, () => unlinkSync(path)),
    remove: (path, done) => unlink(path, (error) => done(error ? diskError('remove', path, error) : undefined)),
    rmdir: (path) => attempt('remove', path, () => rmdirSync(path)),
    free,
    syncDir,
    lock: (path) => (LINUX ? lockBySocket(path) : Promise.resolve().then(() => lockByFile(path))),
  };
}
