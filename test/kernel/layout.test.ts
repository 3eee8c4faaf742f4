/**
 * The drawing of each layout in assembly/ against the constants that the code uses: a row's offset is the constant's value,
 * and no row reaches into the next one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { loadKernel } from '../../src/kernel/kernel.js';

const assembly = new URL('../../assembly/', import.meta.url);
const source = (file: string) => readFileSync(new URL(file, assembly), 'utf8');
const kernel = loadKernel({ seed: new Uint8Array(16), build: 'test-release' });

interface Row {
  readonly offset: number;
  readonly bytes: number;
  readonly text: string;
}

const sizes: Record<string, number> = { u8: 1, u16: 2, u32: 4, u64: 8, i64: 8, f64: 8 };

/** Rows `offset  type  text` below the line that begins with `heading`, up to the next blank one; lines that only go on are skipped. */
function rows(file: string, heading: string): Row[] {
  const lines = source(file)
    .split('\n')
    .map((line) => line.replace(/^\s*\*\s?/, ''));
  const first = lines.findIndex((line) => line.trim().startsWith(heading));
  if (first < 0) throw new Error(`${file} has no drawing "${heading}"`);
  const found: Row[] = [];
  for (const line of lines.slice(first + 1)) {
    if (line.trim() === '') break;
    const match = /^\s*(\d+)\s+(?:(u8|u16|u32|u64|i64|f64|\d+ B)\s+)?(.*)$/.exec(line);
    if (match === null) continue;
    const type = match[2];
    found.push({
      offset: Number(match[1]),
      bytes: type === undefined ? 0 : (sizes[type] ?? Number.parseInt(type, 10)),
      text: match[3]!,
    });
  }
  return found;
}

const constant = (name: string) => kernel.constant(name);
const newest = (name: string) => constant('VS_NEWEST') + constant(name);

/** File, heading of the drawing, and the constants of its rows in order; a number stands for itself. */
const drawings: [string, string, (string | number)[]][] = [
  [
    'pages.ts',
    'page entry',
    ['PAGE_KIND', 'PAGE_CLASS', 'PAGE_USED', 'PAGE_LENGTH', 'PAGE_BUMP', 'PAGE_NEXT', 'PAGE_PREV'],
  ],
  ['pages.ts', 'state', ['PS_TOTAL', 'PS_MAX', 'PS_FRESH', 'PS_FREE', 'PS_BINS', 'PS_OWED']],
  ['alloc.ts', 'state', ['AS_BYTES', 'AS_BLOCKS', 'AS_RECORDS', 'AS_PAGES']],
  ['alloc.ts', 'a block in the debug build', [0, 4, 8, 12, 'GUARD_BEFORE']],
  ['hash.ts', 'state', ['HS_V0', 'HS_V1', 'HS_V2', 'HS_V3', 'HS_NEXT', 'HS_NEXT_HALF']],
  [
    'table.ts',
    'state',
    [
      'TS_SLOTS',
      'TS_LOG',
      'TS_USED',
      'TS_KEYS',
      'TS_OLD',
      'TS_OLD_LOG',
      'TS_WATERMARK',
      'TS_GENERATION',
      'TS_NEXT',
      'TS_NEXT_LOG',
      'TS_ZERO',
      'TS_ZERO_END',
      'TS_RETIRED',
      'TS_RETIRED_LIST',
    ],
  ],
  [
    'record.ts',
    'record, a block',
    [
      'REC_REVISION',
      'REC_PREV',
      'REC_KEY_LENGTH',
      'REC_VALUE_LENGTH',
      'REC_NEXT',
      'REC_STATE_HASH',
      'REC_DEADLINE',
      'REC_KEY',
    ],
  ],
  ['expiry.ts', 'node, 16 bytes', ['NODE_LEFT', 'NODE_RIGHT', 'NODE_USERS', 'NODE_MARKED']],
  ['expiry.ts', 'state', ['ES_ROOT', 'ES_BEFORE', 'ES_REST', 'ES_WORK']],
  ['readers.ts', 'state', ['RS_USED']],
  ['snapshot.ts', 'state', ['SN_REVISION', 'SN_CURSOR', 'SN_RUNNING', 'SN_NEXT', 'SN_END', 'SN_CHUNK', 'SN_PART']],
  ['snapshot.ts', 'entry', ['SE_KEY_LENGTH', 'SE_VALUE_LENGTH', 'SE_REVISION', 'SE_DEADLINE', 'SE_HEAD']],
  ['load.ts', 'state', ['LO_UNDER_WAY', 'LO_WRONG', 'LO_REVISION']],
  ['load.ts', 'window', [0, 'LOAD_ENTRY_AT']],
  ['pins.ts', 'pin, 32 bytes', ['PIN_REVISION', 'PIN_COUNT', 'PIN_FIRST', 'PIN_LAST', 'PIN_LOWER']],
  ['pins.ts', 'state', ['PI_PLACES', 'PI_DEAD']],
  [
    'version.ts',
    'state',
    [
      'VS_PUBLISHED',
      'VS_APPLIED',
      'VS_KEYS',
      'VS_HASH',
      'VS_LOGICAL',
      'VS_LIMIT',
      'VS_LOCK',
      'VS_TIME',
      newest('VS_PUBLISHED'),
      newest('VS_APPLIED'),
      newest('VS_KEYS'),
      newest('VS_HASH'),
      newest('VS_LOGICAL'),
      newest('VS_LIMIT'),
      newest('VS_TIME'),
      'VS_QUEUES',
    ],
  ],
  [
    'validate.ts',
    'state',
    [
      'VA_PLACE',
      'VA_END',
      'VA_COMMANDS',
      'VA_BODY_END',
      'VA_CHECKS',
      'VA_MORE',
      'VA_READS',
      'VA_OPERATIONS',
      'VA_BYTES',
      'VA_PAGES',
      'VA_CLASSES',
      'VA_MORE_CLASSES',
      'VA_PERSISTS',
      'VA_LONGEST',
      'VA_SESSIONS',
      'VA_ANSWERS',
      'VA_SESSION_KEY',
    ],
  ],
  [
    'operate.ts',
    'state',
    [
      'OS_PLACE',
      'OS_END',
      'OS_WHO',
      'OS_SLOT',
      'OS_UNDER_WAY',
      'OS_DELETED',
      'OS_DEL_REVISION',
      'OS_COMMANDS',
      'OS_CHECKED',
      'OS_TOUCHED',
      'OS_SEQUENCED',
      'OS_NOTED_BYTES',
      'OS_INTEGER',
    ],
  ],
  [
    'compact.ts',
    'state',
    [
      'CO_FIRST',
      'CO_END',
      'CO_AT',
      'CO_LONGEST',
      'CO_FAILED',
      'CO_MOVED',
      'CO_FREE',
      'CO_RUNS',
      'CO_NEW',
      'CO_COST',
      'CO_CLASSES',
    ],
  ],
  ['operate.ts', 'window', [0, 'WINDOW_OPERATION', 'WINDOW_BLOCK']],
  ['commit.ts', 'state', ['CS_PASS', 'CS_PLACE', 'CS_END', 'CS_CHECKS', 'CS_OPERATIONS', 'CS_GROWTH', 'CS_REVISION']],
  ['sessions.ts', 'state', ['SS_NUMBER', 'SS_SEQUENCE', 'SS_LOWEST', 'SS_HASH', 'SS_KEY']],
  ['sessions.ts', 'value of a session', ['S_LOWEST', 'S_ANSWERS']],
  ['sessions.ts', 'answer', ['A_ABOVE', 'A_OUTCOME', 'A_DATA']],
  [
    'apply.ts',
    'state',
    [
      'AP_NEXT',
      'AP_RECORD',
      'AP_STAGED',
      'AP_PHASE',
      'AP_END',
      'AP_OWN',
      'AP_DOES',
      'AP_CHECKPOINT',
      'AP_CHECKPOINT_HASH',
      'AP_PUBLISHED_CHECKPOINT',
      'AP_ORIGIN',
      'AP_REMOVED',
      'AP_REMOVED_BYTES',
      'AP_ORIGIN_KEY',
      'AP_REMOVED_AT',
    ],
  ],
];

describe.each(drawings)('%s, "%s"', (file, heading, names) => {
  const drawn = rows(file, heading);

  test('each row stands where its constant says', () => {
    expect(drawn.map((row) => row.offset)).toEqual(
      names.map((name) => (typeof name === 'number' ? name : constant(name))),
    );
  });

  test('no row reaches into the next', () => {
    for (const [i, row] of drawn.slice(1).entries()) {
      expect(drawn[i]!.offset + drawn[i]!.bytes, row.text).toBeLessThanOrEqual(row.offset);
    }
  });
});

describe('the address map', () => {
  const regions = [...source('layout.ts').matchAll(/^ \*\s+(0x[0-9a-f]{8})\s+(0x[0-9a-f]{8})?\s+([A-Z]+)\s/gm)].map(
    ([, address, bytes, name]) => ({
      name: name!,
      address: Number(address),
      bytes: bytes === undefined ? 0 : Number(bytes),
    }),
  );

  test('every region is drawn with its address and size', () => {
    expect(regions.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'STATE',
        'ARGS',
        'CRC',
        'SCRATCH',
        'SCAN',
        'READERS',
        'FRONT',
        'TEXT',
        'SNAPSHOT',
        'PAGES',
        'PINS',
        'CONN',
        'STAGING',
        'ENTRY',
        'STAGE',
        'HEAP',
      ]),
    );
    for (const { name, address, bytes } of regions) {
      if (name === 'NULL') continue;
      expect(constant(`${name}_BASE`), name).toBe(address);
      if (name !== 'HEAP') expect(constant(`${name}_SIZE`), name).toBe(bytes);
    }
  });

  test('regions follow one another without overlap, up to the heap', () => {
    regions.slice(1).forEach(({ name, address }, i) => {
      const before = regions[i]!;
      expect(before.address + before.bytes, `${before.name} before ${name}`).toBeLessThanOrEqual(address);
    });
    expect(regions.at(-1)!.name).toBe('HEAP');
  });

  test('the parts of STATE lie inside it, a kibibyte apart', () => {
    const parts = [...source('layout.ts').matchAll(/^export const (\w+_STATE): u32/gm)].map(([, name]) =>
      constant(name!),
    );
    expect(parts.length).toBeGreaterThan(10);
    const [base, size] = [constant('STATE_BASE'), constant('STATE_SIZE')];
    parts.forEach((at, i) => {
      expect(at).toBeGreaterThanOrEqual(i === 0 ? base : parts[i - 1]! + 1024);
      expect(at + 1024).toBeLessThanOrEqual(base + size);
    });
  });

  test('arrays fit in their regions', () => {
    expect(65_536 * constant('PAGE_ENTRY')).toBeLessThanOrEqual(constant('PAGES_SIZE'));
    expect(constant('WINDOW') * constant('WINDOW_ENTRY')).toBeLessThanOrEqual(constant('SCRATCH_SIZE'));
    expect(constant('READERS') * constant('READER_BYTES')).toBeLessThanOrEqual(constant('READERS_SIZE'));
    expect(8 * constant('CRC_TABLE')).toBeLessThanOrEqual(constant('CRC_SIZE'));
    expect(65_535 * 128).toBeLessThanOrEqual(constant('CONN_SIZE'));
    expect(constant('TS_RETIRED_LIST') + 32 * constant('RETIRED_ENTRY')).toBeLessThanOrEqual(1024);
    expect(constant('AS_PAGES') + 4 * constant('LISTS')).toBeLessThanOrEqual(1024);
    expect(constant('CO_CLASSES') + 2 * constant('LISTS')).toBeLessThanOrEqual(1024);
    expect(constant('SNAPSHOT_WINDOW')).toBe(constant('SNAPSHOT_BASE') + 4 * constant('SNAPSHOT_LIST'));
    expect((constant('LOAD_WINDOW') + 1) * constant('LOAD_ENTRY')).toBeLessThanOrEqual(constant('SCRATCH_SIZE'));
  });
});

test('the bits of a slot and of a record are those drawn', () => {
  const slot = source('table.ts');
  const [, last] = /^ \*\s+0 … (\d+)\s+address/m.exec(slot)!;
  expect(Number(last) + 1).toBe(constant('SLOT_ADDRESS_BITS'));
  expect(constant('SLOT_ADDRESS_MASK')).toBe(2 ** constant('SLOT_ADDRESS_BITS') - 1);
  expect(64 - constant('SLOT_ADDRESS_BITS')).toBe(constant('TAG_BITS'));
  const [, system, deleted, loose] = /bit (\d+) system, bit (\d+) deleted, bit (\d+) loose/.exec(source('record.ts'))!;
  expect([system, deleted, loose].map((bit) => 2 ** Number(bit))).toEqual(
    ['FLAG_SYSTEM', 'FLAG_DELETED', 'FLAG_LOOSE'].map(constant),
  );
});

test('every file of assembly/ opens with a drawing or says what it is', () => {
  for (const file of readdirSync(assembly)) {
    if (file.endsWith('.ts')) expect(source(file).trimStart(), file).toMatch(/^\/\*\*/);
  }
});
