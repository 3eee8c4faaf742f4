/** The part of the JavaScript API of WebAssembly that is used here: the types of Node 20 do not declare it. */

export interface WasmMemory {
  /** Another object after each growth. */
  readonly buffer: ArrayBuffer;
}

export interface WasmGlobal {
  readonly value: number | bigint;
}

export interface WasmApi {
  readonly Memory: new (size: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: Record<string, Record<string, unknown>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
  readonly Global: new (...args: never[]) => WasmGlobal;
}

export const wasm = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
