/** Reads a drawing of a layout out of a source or a page: the block of lines round `marker`, each `offset  type  text`. */
export interface DrawnRow {
  readonly offset: number;
  /** Bytes of the field; 0 where the drawing gives no type. */
  readonly bytes: number;
  readonly text: string;
}

const sizes: Record<string, number> = { u8: 1, u16: 2, u32: 4, u64: 8 };

function parse(line: string): DrawnRow | undefined {
  const match = /^\s*(?:\*\s+)?(\d+)\s+(.*)$/.exec(line);
  if (!match) return undefined;
  const typed = /^(u8|u16|u32|u64|(\d+) B)\s+(.*)$/.exec(match[2]!);
  const offset = Number(match[1]);
  if (!typed) return { offset, bytes: 0, text: match[2]!.trim() };
  return { offset, bytes: typed[2] ? Number(typed[2]) : sizes[typed[1]!]!, text: typed[3]!.trim() };
}

export function drawing(text: string, marker: string): DrawnRow[] {
  const lines = text.split('\n');
  const middle = lines.findIndex((line) => line.includes(marker) && parse(line));
  if (middle < 0) throw new Error(`no drawing with "${marker}"`);
  let first = middle;
  while (parse(lines[first - 1] ?? '')) first--;
  const rows: DrawnRow[] = [];
  for (let i = first; parse(lines[i] ?? ''); i++) rows.push(parse(lines[i]!)!);
  return rows;
}
