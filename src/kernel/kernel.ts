/**
 * Loads the kernel (assembly/, compiled to WebAssembly) and hands out views of its memory.
 *
 * ## Concept
 *
 * The kernel's whole state is in one shared `WebAssembly.Memory` that is created here, at fixed addresses. The host calls
 * exports with addresses and lengths, never with objects, and reads and writes the memory through two views.
 *
 * ## Invariants
 *
 * - This is the only file that loads the .wasm and the only one that makes views of kernel memory. Memory grows inside
 *   calls, and a view of shared memory keeps its old length then: so `u8` and `u32` are getters that look whether the buffer has been
 *   replaced. Do not keep what they return across a call of an export.
 * - Addresses come back from raw exports as signed integers; `address` makes them unsigned.
 * - A failed check in the kernel arrives as a `KernelError` that names it. Its memory is not to be used any more.
 *
 * ## Caveats
 *
 * A `WebAssembly.Memory` reserves address space for its maximum (4 GiB); physical memory is used only for pages that are
 * written. It is given back when the kernel is garbage.
 */
import { readFileSync } from 'node:fs';
import { KernelError } from './failures.js';
import { type WasmMemory, wasm } from './wasm.js';

export { KernelError } from './failures.js';

/** Pages of 64 KiB, as compiled (asconfig.json). */
export const INITIAL_PAGES = 1600;
export const MAXIMUM_PAGES = 65_536;

export const SEED_BYTES = 16;

/** Outcomes of `apply` and `run`. */
export const Outcome = { done: 0, more: 1, noMemory: 2, malformed: 3, busy: 4 } as const;

/** A function of the kernel's: numbers in, a number or nothing out. */
export type KernelFunction = (...args: number[]) => number;
/** What the .wasm exports: functions, and constants of the address map. */
export type KernelExports = Readonly<Record<string, KernelFunction>>;

export interface KernelOptions {
  /** 16 random bytes: seed of the hash table. */
  readonly seed: Uint8Array;
  /** `debug` has canaries round allocations. Default: `release`. */
  readonly build?: 'release' | 'debug' | 'test-release' | 'test-debug';
  /** Most pages of memory, for tests of a node that runs out of it. Default: all that there can be (4 GiB). */
  readonly maximumPages?: number;
}

/** A loaded kernel: its exports, and views of its memory. */
export interface Kernel {
  readonly exports: KernelExports;
  /** All of its memory, as of now: do not keep it across a call. */
  readonly u8: Uint8Array;
  readonly u32: Uint32Array;
  readonly f64: Float64Array;
  /** The value of an exported constant. Throws when there is none of that name. */
  constant(name: string): number;
}

/** Compiled modules by name of the build: compiling once serves every instance. */
const modules = new Map<string, object>();

function compiled(build: string): object {
  let module = modules.get(build);
  if (module === undefined) {
    module = new wasm.Module(readFileSync(new URL(`../../build/${build}.wasm`, import.meta.url)));
    modules.set(build, module);
  }
  return module;
}

/** Unsigned, as all addresses and lengths are. */
export function address(value: number): number {
  return value >>> 0;
}

function fail(code: number): never {
  throw new KernelError(code);
}

/** A new kernel with an empty state. Throws RangeError when the system has no address space for its memory. */
export function loadKernel(options: KernelOptions): Kernel {
  if (options.seed.length !== SEED_BYTES)
    throw new RangeError(`a seed has ${SEED_BYTES} bytes, not ${options.seed.length}`);
  const memory = new wasm.Memory({ initial: INITIAL_PAGES, maximum: MAXIMUM_PAGES, shared: true });
  const instance = new wasm.Instance(compiled(options.build ?? 'release'), { env: { memory, fail } });
  const kernel = new LoadedKernel(memory, instance.exports);
  kernel.u8.set(options.seed, kernel.constant('ARGS_BASE'));
  kernel.exports.init!(options.maximumPages ?? 0);
  return kernel;
}

class LoadedKernel implements Kernel {
  readonly exports: KernelExports;
  private readonly memory: WasmMemory;
  private readonly raw: Readonly<Record<string, unknown>>;
  private bytes: Uint8Array;
  private words: Uint32Array;
  private doubles: Float64Array;

  constructor(memory: WasmMemory, raw: Readonly<Record<string, unknown>>) {
    this.memory = memory;
    this.raw = raw;
    this.exports = raw as KernelExports;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Uint32Array(memory.buffer);
    this.doubles = new Float64Array(memory.buffer);
  }

  get u8(): Uint8Array {
    if (this.bytes.buffer !== this.memory.buffer) this.refresh();
    return this.bytes;
  }

  get u32(): Uint32Array {
    if (this.words.buffer !== this.memory.buffer) this.refresh();
    return this.words;
  }

  get f64(): Float64Array {
    if (this.doubles.buffer !== this.memory.buffer) this.refresh();
    return this.doubles;
  }

  constant(name: string): number {
    const value = this.raw[name];
    if (!(value instanceof wasm.Global)) throw new Error(`the kernel exports no constant ${name}; build it again`);
    return address(Number(value.value));
  }

  private refresh(): void {
    this.bytes = new Uint8Array(this.memory.buffer);
    this.words = new Uint32Array(this.memory.buffer);
    this.doubles = new Float64Array(this.memory.buffer);
  }
}
