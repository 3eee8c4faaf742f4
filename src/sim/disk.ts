/**
 * A simulated machine's disk: `Disk` in memory, with a page cache that a crash can take.
 *
 * ## Concept
 *
 * Every file has two contents: what programs read (*seen*: the page cache) and what the platter holds (*durable*), both as
 * lists of immutable sectors of 512 bytes. A write changes what is seen and leaves its sectors *dirty*; `syncSync`, or
 * the completion of a write with `dsync`, makes them durable. Names work the same way: creations, renames and removals
 * are seen at once and durable with `syncDir`.
 *
 * - `crash('drop')`: the power fails; nothing survives but what was durable.
 * - `crash('tear')`: the power fails; of what was not durable each sector and each change of a name survives or not, at
 *   random, and so does each sector of writes under way.
 * - `crash('kill')`: the process dies, the machine lives on with its page cache; of a write under way the first sectors
 *   have arrived, at random how many.
 *
 * After a crash all open files and locks are gone: a dead file throws, and calls nothing back. The disk itself can be
 * used at once by the node's next life.
 *
 * ## Failures
 *
 * A write that fails with `io` behaves like Linux: the page cache holds the new bytes and believes them written (they are
 * not dirty), the platter holds any of the sectors. `evict` shows the platter again. So a program that trusts what
 * it reads after a failed write is found out.
 *
 * A step that was ordered to fail fails (`fail`), reads among them. `loseRename`: a rename that no sync makes durable.
 * `lying`: files and folders whose syncs claim to be durable and are not, until the machine crashes. `latency`: slow writes.
 * `capacity` may change at any time.
 *
 * ## Invariants checked
 *
 * One write at a time in a file; the bytes of a write do not change before its callback; nothing is called back from
 * inside `write`. The same calls with the same `random` and `schedule` give the same disk.
 */
import { type Disk, DiskError, type DiskFile, type OpenOptions } from '../env/env.js';

export const SIM_SECTOR = 512;

export interface SimDiskOptions {
  /** Calls the callback later, never at once: when a write completes. */
  readonly schedule: (callback: () => void) => void;
  /** A number in [0, 1): decides what a crash leaves. */
  readonly random: () => number;
  /** Calls the callback `ms` milliseconds later: for `latency`, which has no effect without it. */
  readonly after?: (ms: number, callback: () => void) => void;
  /** Bytes that all files together may have; unlimited unless given. */
  readonly capacity?: number;
}

export type CrashMode = 'drop' | 'tear' | 'kill';
/** What can be made to fail, and (but for `read`, which changes nothing) what `onStep` tells of. `complete` is the end of an asynchronous write. */
export type DiskStep = 'create' | 'write' | 'complete' | 'sync' | 'rename' | 'unlink' | 'syncDir' | 'read';

type Sector = Uint8Array;

interface Content {
  sectors: Sector[];
  size: number;
}

interface Inode {
  seen: Content;
  durable: Content;
  /** Sectors seen that a sync will write. */
  readonly dirty: Set<number>;
}

type NameChange =
  | { readonly kind: 'create'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string; readonly lost: boolean }
  | { readonly kind: 'unlink'; readonly path: string };

interface Flight {
  readonly inode: Inode;
  /** As they were when the write was submitted. */
  readonly bytes: Uint8Array;
  readonly position: number;
}

interface Fault {
  readonly step: DiskStep;
  remaining: number;
  readonly code: DiskError['code'];
  readonly path: (path: string) => boolean;
}

const ZEROS: Sector = new Uint8Array(SIM_SECTOR);

function folderOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end <= 0 ? (end === 0 ? '/' : '.') : path.slice(0, end);
}

function plain(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

/**
 * Writes into a content: the sectors that it touches are made anew, those that it fills are views of `bytes`, which nobody may
 * change any more. Returns their numbers.
 */
function overwrite(content: Content, bytes: Uint8Array, position: number): number[] {
  const touched: number[] = [];
  const end = position + bytes.length;
  while (content.sectors.length * SIM_SECTOR < end) content.sectors.push(ZEROS);
  for (let number = Math.floor(position / SIM_SECTOR); number * SIM_SECTOR < end; number++) {
    const start = number * SIM_SECTOR;
    const from = Math.max(position, start);
    const to = Math.min(end, start + SIM_SECTOR);
    let sector = bytes.subarray(from - position, to - position);
    if (sector.length < SIM_SECTOR) {
      const part = sector;
      sector = content.sectors[number]!.slice();
      sector.set(part, from - start);
    }
    content.sectors[number] = sector;
    touched.push(number);
  }
  content.size = Math.max(content.size, end);
  return touched;
}

function isLost(change: NameChange): boolean {
  return change.kind === 'rename' && change.lost;
}

function copyOf(content: Content): Content {
  return { sectors: [...content.sectors], size: content.size };
}

/** Brings one sector that is seen onto the platter. */
function settle(inode: Inode, number: number): void {
  const { durable, seen } = inode;
  while (durable.sectors.length <= number) durable.sectors.push(ZEROS);
  durable.sectors[number] = seen.sectors[number]!;
  durable.size = Math.max(durable.size, Math.min(seen.size, (number + 1) * SIM_SECTOR));
}

/** Fills `bytes` with what stands from `position` on; returns how many there were. */
function readInto(content: Content, bytes: Uint8Array, position: number): number {
  const end = Math.min(position + bytes.length, content.size);
  for (let at = position; at < end; ) {
    const inside = at % SIM_SECTOR;
    const length = Math.min(SIM_SECTOR - inside, end - at);
    bytes.set(content.sectors[Math.floor(at / SIM_SECTOR)]!.subarray(inside, inside + length), at - position);
    at += length;
  }
  return Math.max(0, end - position);
}

function bytesOf({ sectors, size }: Content): Uint8Array {
  const bytes = new Uint8Array(sectors.length * SIM_SECTOR);
  for (const [number, sector] of sectors.entries()) bytes.set(sector, number * SIM_SECTOR);
  return bytes.subarray(0, size);
}

function contentOf(bytes: Uint8Array): Content {
  const content: Content = { sectors: [], size: 0 };
  overwrite(content, bytes.slice(), 0);
  return content;
}

export class SimDisk implements Disk {
  /** Told before each step takes effect; `fork` from inside it to try a crash at that point. */
  onStep: (step: DiskStep, path: string) => void = () => {};
  /** Bytes that all files together may have. */
  capacity: number;
  /** Files and folders whose syncs, and whose writes with `dsync`, leave everything as undurable as it was. */
  lying: (path: string) => boolean = () => false;
  /** Milliseconds that an asynchronous write to a file takes. */
  latency: (path: string) => number = () => 0;
  /** Writes begun, synchronous ones among them. */
  writes = 0;
  /** Where the last durable asynchronous write in each file went; the last of all stands last. */
  readonly lastWrites = new Map<string, { readonly position: number; readonly bytes: number }>();
  readonly #schedule: SimDiskOptions['schedule'];
  readonly #random: SimDiskOptions['random'];
  readonly #after: SimDiskOptions['after'];
  #losing: { remaining: number; readonly path: (path: string) => boolean }[] = [];
  readonly #folders = new Set<string>(['/', '.']);
  #seenNames = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  /** Changes of names that are not durable, in their order. */
  #changes: NameChange[] = [];
  #flights = new Set<Flight>();
  #faults: Fault[] = [];
  #locks = new Set<string>();
  /** Completions that wait for `letGo`; undefined while nothing is held. */
  #held: (() => void)[] | undefined;
  #life = 1;

  constructor(options: SimDiskOptions) {
    this.#schedule = options.schedule;
    this.#random = options.random;
    this.#after = options.after;
    this.capacity = options.capacity ?? Number.POSITIVE_INFINITY;
  }

  mkdir(path: string): void {
    const whole = plain(path);
    if (this.#seenNames.has(whole)) throw new DiskError('io', `${whole} is not a folder`);
    for (let folder = whole; !this.#folders.has(folder); folder = folderOf(folder)) this.#folders.add(folder);
  }

  list(path: string): string[] {
    const folder = plain(path);
    this.#needFolder(folder);
    const all = [...this.#seenNames.keys(), ...this.#folders];
    const inside = all.filter((name) => name !== folder && folderOf(name) === folder);
    return inside.map((name) => name.slice(name.lastIndexOf('/') + 1)).sort();
  }

  exists(path: string): boolean {
    return this.#seenNames.has(plain(path)) || this.#folders.has(plain(path));
  }

  open(path: string, options: OpenOptions = {}): DiskFile {
    let inode = this.#seenNames.get(path);
    if (inode && options.create && options.exclusive) throw new DiskError('exists', `cannot open ${path}: it exists`);
    if (!inode) {
      if (!options.create) throw new DiskError('missing', `cannot open ${path}: no such file`);
      this.#needFolder(folderOf(path));
      this.#step('create', path);
      inode = { seen: { sectors: [], size: 0 }, durable: { sectors: [], size: 0 }, dirty: new Set() };
      this.#seenNames.set(path, inode);
      this.#changes.push({ kind: 'create', path, inode });
    }
    return this.#file(path, inode, options.dsync === true);
  }

  rename(from: string, to: string): void {
    const inode = this.#seenNames.get(from);
    if (!inode) throw new DiskError('missing', `cannot rename ${from}: no such file`);
    this.#needFolder(folderOf(to));
    this.#step('rename', from);
    this.#seenNames.delete(from);
    this.#seenNames.set(to, inode);
    this.#changes.push({ kind: 'rename', path: from, to, lost: this.#loses(from) });
  }

  unlink(path: string): void {
    if (!this.#seenNames.has(path)) throw new DiskError('missing', `cannot remove ${path}: no such file`);
    this.#step('unlink', path);
    this.#seenNames.delete(path);
    this.#changes.push({ kind: 'unlink', path });
  }

  remove(path: string, done: (error?: DiskError) => void): void {
    const life = this.#life;
    this.#schedule(() => {
      if (life !== this.#life) return;
      let failed: DiskError | undefined;
      try {
        this.unlink(path);
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        failed = error;
      }
      done(failed);
    });
  }

  rmdir(path: string): void {
    const folder = plain(path);
    this.#needFolder(folder);
    if (this.list(folder).length > 0) throw new DiskError('io', `cannot remove ${folder}: it is not empty`);
    this.#folders.delete(folder);
  }

  free(path: string): number {
    this.#needFolder(plain(path));
    return Math.max(0, this.capacity - this.#used());
  }

  syncDir(path: string): void {
    const folder = plain(path);
    this.#needFolder(folder);
    this.#step('syncDir', folder);
    const rest: NameChange[] = [];
    for (const change of this.#changes) {
      const durable = folderOf(change.path) === folder && !this.lying(folder) && !isLost(change);
      if (durable) this.#changeDurable(change);
      else rest.push(change);
    }
    this.#changes = rest;
  }

  lock(path: string): Promise<{ release(): void } | undefined> {
    const folder = plain(path);
    if (this.#locks.has(folder)) return Promise.resolve(undefined);
    this.#locks.add(folder);
    const life = this.#life;
    const release = (): void => {
      if (life === this.#life) this.#locks.delete(folder);
    };
    return Promise.resolve({ release });
  }

  /** Ends the machine's (or with `kill` the process's) life. What is left can be opened at once. */
  crash(mode: CrashMode): void {
    if (mode === 'kill') {
      for (const { inode, bytes, position } of this.#flights) {
        const arrived = Math.floor(this.#random() * (Math.ceil(bytes.length / SIM_SECTOR) + 1)) * SIM_SECTOR;
        this.#see(inode, bytes.subarray(0, arrived), position);
      }
    } else {
      this.#powerOff(mode === 'tear' ? () => this.#random() < 0.5 : () => false);
    }
    this.#life++;
    this.#flights = new Set();
    this.#locks = new Set();
    this.#faults = [];
    this.#losing = [];
    if (this.#held) this.#held = [];
  }

  /** A copy of this disk as it is now, writes under way among it, to be crashed on its own. Its files and locks are dead. */
  fork(options: SimDiskOptions): SimDisk {
    const copy = new SimDisk({ capacity: this.capacity, ...options });
    const copies = new Map<Inode, Inode>();
    const inodeCopy = (inode: Inode): Inode => {
      let made = copies.get(inode);
      if (!made) {
        made = { seen: copyOf(inode.seen), durable: copyOf(inode.durable), dirty: new Set(inode.dirty) };
        copies.set(inode, made);
      }
      return made;
    };
    for (const folder of this.#folders) copy.#folders.add(folder);
    for (const [path, inode] of this.#seenNames) copy.#seenNames.set(path, inodeCopy(inode));
    for (const [path, inode] of this.#durableNames) copy.#durableNames.set(path, inodeCopy(inode));
    copy.#changes = this.#changes.map((change) =>
      change.kind === 'create' ? { ...change, inode: inodeCopy(change.inode) } : change,
    );
    for (const flight of this.#flights) copy.#flights.add({ ...flight, inode: inodeCopy(flight.inode) });
    return copy;
  }

  /** Makes the `nth` next step of this kind (1: the next one), on a path that `path` accepts, fail with `code`. */
  fail(step: DiskStep, nth: number, code: DiskError['code'], path: (path: string) => boolean = () => true): void {
    this.#faults.push({ step, remaining: nth, code, path });
  }

  /** Lets the `nth` next rename (1: the next one) of a path that `path` accepts be seen, and never become durable. */
  loseRename(nth: number, path: (path: string) => boolean = () => true): void {
    this.#losing.push({ remaining: nth, path });
  }

  /** Takes back the failures that were ordered and have not come. */
  forgetFaults(): void {
    this.#faults = [];
  }

  /** Keeps the completions of writes back until `letGo`. */
  hold(): void {
    this.#held ??= [];
  }

  /** Completes what is held, in its order, and holds nothing more. */
  letGo(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const complete of held) this.#schedule(complete);
  }

  /** Drops the clean part of the page cache: what is seen is what the platter holds, but for dirty sectors. */
  evict(): void {
    for (const inode of this.#inodes()) {
      for (let number = 0; number < inode.seen.sectors.length; number++) {
        if (!inode.dirty.has(number)) inode.seen.sectors[number] = inode.durable.sectors[number] ?? ZEROS;
      }
    }
  }

  /** The bytes of a file as programs see them. */
  content(path: string): Uint8Array {
    return bytesOf(this.#inode(path).seen);
  }

  /** Puts a file there, seen and durable, as if by another machine. */
  plant(path: string, bytes: Uint8Array): void {
    this.mkdir(folderOf(path));
    const inode = { seen: contentOf(bytes), durable: contentOf(bytes), dirty: new Set<number>() };
    this.#seenNames.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Rot: changes one bit of a file, on the platter and in what is seen. */
  flipBit(path: string, bit: number): void {
    const inode = this.#inode(path);
    const at = Math.floor(bit / 8);
    for (const content of [inode.seen, inode.durable]) {
      if (at >= content.size) continue;
      const byte = content.sectors[Math.floor(at / SIM_SECTOR)]![at % SIM_SECTOR]!;
      overwrite(content, new Uint8Array([byte ^ (1 << (bit % 8))]), at);
    }
  }

  #inodes(): Set<Inode> {
    return new Set([...this.#seenNames.values(), ...this.#durableNames.values()]);
  }

  #inode(path: string): Inode {
    const inode = this.#seenNames.get(path);
    if (!inode) throw new DiskError('missing', `no file ${path}`);
    return inode;
  }

  #needFolder(path: string): void {
    if (!this.#folders.has(path)) throw new DiskError('missing', `no folder ${path}`);
  }

  /** Counts a step and throws the fault that was ordered for it. */
  #step(step: DiskStep, path: string): void {
    const fault = this.#fault(step, path);
    if (fault) throw fault;
  }

  #fault(step: DiskStep, path: string): DiskError | undefined {
    if (step !== 'read') this.onStep(step, path);
    for (const fault of this.#faults) {
      if (fault.step !== step || !fault.path(path) || --fault.remaining > 0) continue;
      this.#faults = this.#faults.filter((other) => other !== fault);
      return new DiskError(fault.code, `cannot ${step} ${path}: ordered to fail (${fault.code})`);
    }
    return undefined;
  }

  #used(): number {
    let used = 0;
    for (const inode of new Set(this.#seenNames.values())) used += inode.seen.size;
    return used;
  }

  #full(inode: Inode, end: number): boolean {
    if (this.capacity === Number.POSITIVE_INFINITY) return false;
    const more = end - inode.seen.size;
    return more > 0 && this.#used() + more > this.capacity;
  }

  #loses(path: string): boolean {
    const order = this.#losing.find((each) => each.path(path) && --each.remaining === 0);
    if (order) this.#losing = this.#losing.filter((each) => each !== order);
    return order !== undefined;
  }

  #see(inode: Inode, bytes: Uint8Array, position: number): number[] {
    const touched = bytes.length === 0 ? [] : overwrite(inode.seen, bytes, position);
    for (const number of touched) inode.dirty.add(number);
    return touched;
  }

  /** Carries a write out. A failed one is seen, believed written, and on the platter in part. */
  #carryOut(inode: Inode, bytes: Uint8Array, position: number, dsync: boolean, error: DiskError | undefined): void {
    if (error && error.code !== 'io') return;
    for (const number of this.#see(inode, bytes, position)) {
      if (error ? this.#random() < 0.5 : dsync) settle(inode, number);
      if (error || dsync) inode.dirty.delete(number);
    }
  }

  #sync(inode: Inode, error: DiskError | undefined): void {
    for (const number of inode.dirty) if (!error || this.#random() < 0.5) settle(inode, number);
    inode.dirty.clear();
    if (!error) inode.durable.size = inode.seen.size;
  }

  #changeDurable(change: NameChange): void {
    if (change.kind === 'create') {
      this.#durableNames.set(change.path, change.inode);
      return;
    }
    const inode = this.#durableNames.get(change.path);
    if (!inode) return;
    this.#durableNames.delete(change.path);
    if (change.kind === 'rename') this.#durableNames.set(change.to, inode);
  }

  #powerOff(survives: () => boolean): void {
    for (const { inode, bytes, position } of this.#flights) this.#see(inode, bytes, position);
    for (const inode of new Set([...this.#inodes(), ...[...this.#flights].map((flight) => flight.inode)])) {
      for (const number of inode.dirty) if (survives()) settle(inode, number);
      inode.dirty.clear();
    }
    for (const change of this.#changes) if (survives() && !isLost(change)) this.#changeDurable(change);
    this.#changes = [];
    this.#seenNames = new Map(this.#durableNames);
    for (const inode of this.#inodes()) inode.seen = copyOf(inode.durable);
  }

  #file(path: string, inode: Inode, dsync: boolean): DiskFile {
    const life = this.#life;
    let closed = false;
    let writing = false;
    const alive = (): boolean => life === this.#life && !closed;
    const check = (): void => {
      if (life !== this.#life) throw new DiskError('io', `${path}: the machine that had it open has crashed`);
      if (closed) throw new DiskError('io', `${path} is closed`);
      if (writing) throw new Error(`two writes at once to ${path}`);
    };
    return {
      path,
      write: (bytes, position, done) => {
        check();
        writing = true;
        this.#submit(path, { inode, bytes: bytes.slice(), position }, bytes, dsync, (error) => {
          writing = false;
          if (alive()) done(error);
        });
      },
      writeSync: (bytes, position) => {
        check();
        const error = this.#begin(path, inode, position + bytes.length);
        this.#carryOut(inode, bytes.slice(), position, dsync && !this.lying(path), error);
        if (error) throw error;
      },
      readSync: (bytes, position) => {
        if (life !== this.#life || closed) check();
        this.#step('read', path);
        return readInto(inode.seen, bytes, position);
      },
      syncSync: () => {
        check();
        const error = this.#fault('sync', path);
        if (error || !this.lying(path)) this.#sync(inode, error);
        if (error) throw error;
      },
      size: () => {
        if (life !== this.#life || closed) check();
        return inode.seen.size;
      },
      close: () => {
        closed = true;
      },
    };
  }

  #note(path: string, position: number, bytes: number): void {
    this.lastWrites.delete(path);
    this.lastWrites.set(path, { position, bytes });
  }

  #begin(path: string, inode: Inode, end: number): DiskError | undefined {
    this.writes++;
    const error = this.#fault('write', path);
    if (error || !this.#full(inode, end)) return error;
    return new DiskError('full', `cannot write ${path}: no space left`);
  }

  #submit(path: string, flight: Flight, given: Uint8Array, dsync: boolean, done: (error?: DiskError) => void): void {
    const { inode, bytes, position } = flight;
    const error = this.#begin(path, inode, position + bytes.length);
    const life = this.#life;
    this.#flights.add(flight);
    const complete = (): void => {
      if (life !== this.#life) return;
      if (Buffer.compare(bytes, given) !== 0) throw new Error(`bytes of a write to ${path} changed under way`);
      const late = this.#fault('complete', path) ?? error;
      this.#flights.delete(flight);
      const durable = dsync && !this.lying(path);
      this.#carryOut(inode, bytes, position, durable, late);
      if (!late && durable) this.#note(path, position, bytes.length);
      done(late);
    };
    const ms = this.latency(path);
    if (this.#held) this.#held.push(complete);
    else if (ms > 0 && this.#after) this.#after(ms, complete);
    else this.#schedule(complete);
  }
}
