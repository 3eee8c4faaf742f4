import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Build, builds, TestKernel } from './support.js';

/** Class sizes up to 32 KiB, from ARCHITECTURE.md, "Logical size". */
function classSize(n: number): number {
  const step = n <= 512 ? 16 : n > 32_768 ? 65_536 : 2 ** Math.floor(Math.log2(n - 1)) / 8;
  return Math.ceil(n / step) * step;
}

interface Block {
  readonly at: number;
  readonly bytes: number;
  readonly mark: number;
}

/** Allocates and frees, and keeps every block filled with a mark of its own. */
class Heap {
  readonly kernel: TestKernel;
  readonly blocks: Block[] = [];
  private marks = 0;

  constructor(build: Build) {
    this.kernel = new TestKernel(build);
  }

  alloc(bytes: number): void {
    const at = this.kernel.call('test_alloc', bytes) >>> 0;
    expect(at % 16).toBe(0);
    expect(at).toBeGreaterThan(this.kernel.kernel.constant('HEAP_BASE'));
    expect(this.kernel.call('test_usable', at)).toBeGreaterThanOrEqual(bytes);
    const mark = this.marks++ & 0xff;
    this.kernel.kernel.u8.fill(mark, at, at + bytes);
    this.blocks.push({ at, bytes, mark });
  }

  free(which: number): void {
    const [block] = this.blocks.splice(which % this.blocks.length, 1);
    const bytes = this.kernel.kernel.u8.slice(block!.at, block!.at + block!.bytes);
    expect(bytes.every((byte) => byte === block!.mark)).toBe(true);
    this.kernel.call('test_free', block!.at);
  }
}

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 600 }) },
  { weight: 2, arbitrary: fc.integer({ min: 513, max: 33_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 32_000, max: 400_000 }) },
);

describe.each(builds)('the allocator of the %s kernel', (build) => {
  test('classes are those of the logical size, for every size', () => {
    const kernel = new TestKernel(build);
    for (let n = 1; n <= 32_768; n++) {
      const wanted = classSize(n);
      if (kernel.call('test_roundUp', n) !== wanted) expect(kernel.call('test_roundUp', n), `${n}`).toBe(wanted);
      const bytes = kernel.call('test_classBytes', kernel.call('test_classOf', n));
      if (bytes !== wanted) expect(bytes, `class of ${n}`).toBe(wanted);
    }
    for (const n of [32_769, 65_536, 65_537, 1_048_576]) expect(kernel.call('test_roundUp', n)).toBe(classSize(n));
  });

  test('blocks never overlap, whatever is allocated and freed, and all pages come back', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(size, fc.integer({ min: -1000, max: -1 })), { maxLength: 200 }), (steps) => {
        const heap = new Heap(build);
        const blocks = heap.kernel.call('test_usedBlocks');
        // One empty page of a class may be kept back.
        const pages = heap.kernel.call('test_totalPages') - heap.kernel.call('test_freePages');
        for (const step of steps) {
          if (step > 0) heap.alloc(step);
          else if (heap.blocks.length > 0) heap.free(-step);
        }
        const guards = build === 'test-debug' ? 20 : 0;
        const classes = new Set(steps.filter((step) => step > 0).map((step) => classSize(step + guards)));
        while (heap.blocks.length > 0) heap.free(heap.blocks.length >> 1);
        expect(heap.kernel.call('test_usedBlocks')).toBe(blocks);
        const left = heap.kernel.call('test_totalPages') - heap.kernel.call('test_freePages') - pages;
        expect(left).toBeLessThanOrEqual(classes.size);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test('free runs join their neighbours, so that a large one can be had again', () => {
    const heap = new Heap(build);
    for (let i = 0; i < 24; i++) heap.alloc(500_000);
    const total = heap.kernel.call('test_totalPages');
    for (const which of [3, 1, 20, 0, 7]) heap.free(which);
    while (heap.blocks.length > 0) heap.free(heap.blocks.length - 1);
    heap.alloc(11_000_000);
    expect(heap.kernel.call('test_totalPages')).toBe(total);
  });

  test('an empty page serves another class', () => {
    const heap = new Heap(build);
    for (let i = 0; i < 10_000; i++) heap.alloc(100);
    const total = heap.kernel.call('test_totalPages');
    while (heap.blocks.length > 0) heap.free(heap.blocks.length - 1);
    for (let i = 0; i < 500; i++) heap.alloc(1500);
    expect(heap.kernel.call('test_totalPages')).toBe(total);
  });

  test('memory that is exhausted gives address 0, and what was had before stays right', () => {
    const kernel = new TestKernel(build, 1, 1700);
    const had: number[] = [];
    for (let at = 1; at !== 0; ) {
      at = kernel.call('test_alloc', 1_000_000) >>> 0;
      if (at !== 0) had.push(at);
    }
    expect(had.length).toBeGreaterThan(3);
    expect(kernel.call('test_alloc', 64 * 2 ** 20 + 1)).toBe(0);
    for (const at of had) kernel.call('test_free', at);
    expect(kernel.call('test_alloc', 1_000_000)).not.toBe(0);
  });

  test('a free of what is no block is a failed check', () => {
    const kernel = new TestKernel(build);
    const at = kernel.call('test_alloc', 100_000) >>> 0;
    expect(() => kernel.call('test_free', 64)).toThrow(/check 1 failed/);
    expect(() => kernel.call('test_free', at + 8)).toThrow(/check [12] failed/);
    expect(() => kernel.call('test_free', at + 65_536)).toThrow(/check [12] failed/);
  });
});

test('the debug build tells of a byte written before or behind a block, and of a second free', () => {
  const kernel = new TestKernel('test-debug');
  for (const offset of [-1, -8, 50, 53]) {
    const at = kernel.call('test_alloc', 50) >>> 0;
    const u8 = kernel.kernel.u8;
    u8[at + offset]! ^= 0x10;
    expect(() => kernel.call('test_free', at), `offset ${offset}`).toThrow(/canary/);
    u8[at + offset]! ^= 0x10;
    kernel.call('test_free', at);
    expect(() => kernel.call('test_free', at)).toThrow(/canary/);
  }
});
