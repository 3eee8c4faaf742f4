/** The drawings at the head of the kernel's front files, against the constants below them. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

function sourceOf(file: string): string {
  return readFileSync(new URL(`../../assembly/${file}`, import.meta.url), 'utf8');
}

/** The drawing that follows a line with `title` in the file's first comment, up to an empty line or its end. */
function drawing(file: string, title: string): string {
  const comment = sourceOf(file).slice(0, sourceOf(file).indexOf('*/'));
  const from = comment.indexOf(title);
  if (from < 0) throw new Error(`${file} draws no ${title}`);
  const rest = comment.slice(from + title.length);
  return rest.slice(0, rest.search(/\n \*(?: ```)?\n/));
}

/** Bytes of each type that a drawing names. */
const sizes: Readonly<Record<string, number>> = { u8: 1, u16: 2, u32: 4, u64: 8, f64: 8 };

/** The fields of a drawing: a line each, `offset  type  text`, where the type may be `24 B`. */
function fields(text: string): { readonly offset: number; readonly bytes: number }[] {
  return [...text.matchAll(/^ \* +(\d+) {2}(u8|u16|u32|u64|f64|\d+ B) /gm)].map(([, offset, type]) => {
    return { offset: Number(offset), bytes: sizes[type!] ?? Number.parseInt(type!, 10) };
  });
}

/** Constants of a file whose names begin with the prefix, and their numbers (after FRONT_BASE or the like). */
function constants(file: string, prefix: string): { readonly name: string; readonly value: number }[] {
  const pattern = new RegExp(`^(?:export )?const (${prefix}\\w+): (?:usize|u32) = (?:\\w+ \\+ )?(\\d+);$`, 'gm');
  return [...sourceOf(file).matchAll(pattern)].map((match) => ({ name: match[1]!, value: Number(match[2]) }));
}

const layouts = [
  { file: 'conn.ts', title: '```', prefix: 'C_', within: 128 },
  { file: 'items.ts', title: 'list:', prefix: 'L_', within: 32 },
  { file: 'txn.ts', title: 'transaction, 128 bytes:', prefix: 'T_', within: 128 },
  { file: 'txn.ts', title: 'entry, 64 bytes, one for each key:', prefix: 'E_', within: 64 },
  { file: 'front.ts', title: '```', prefix: 'F_', within: 65_536 },
];

describe.each(layouts)('$file, $title', ({ file, title, prefix, within }) => {
  const drawn = fields(drawing(file, title));

  test('every constant is drawn', () => {
    const offsets = drawn.map((field) => field.offset);
    const named = constants(file, prefix);
    expect(named.length).toBeGreaterThan(5);
    for (const { name, value } of named) expect(offsets, name).toContain(value);
  });

  test('fields do not overlap and stay within their record', () => {
    const inOrder = [...drawn].sort((a, b) => a.offset - b.offset);
    expect(inOrder).toEqual(drawn);
    inOrder.forEach(({ offset, bytes }, i) => {
      expect(offset + bytes).toBeLessThanOrEqual(inOrder[i + 1]?.offset ?? within);
    });
  });
});
