/** What each check of the kernel's says when it fails. Codes below 200 are the storage half's, see assembly/memory.ts; from 200 on the front's. */
const texts: Readonly<Record<number, string>> = {
  1: 'a block was freed that is none: its address is not that of an allocated block',
  2: 'memory outside a block was written: the canary beside it has changed',
  3: 'the allocator lost count: a page is not on the list where it belongs',
  4: 'the table is full: it could not grow in time',
  5: 'too many pinned revisions',
  6: 'a revision was unpinned that is not pinned',
  7: 'no memory where it had been made sure',
  8: 'a staged record has a bad header: wrong magic, format, length, or its index does not follow the one before',
  9: 'a record was staged where there is no room for it',
  10: 'a chain of versions is broken: a superseded record does not know its successor',
  11: 'a scan found more keys in one slot than can be',
  12: 'the page map is wrong: memory that was grown is not there',
  13: 'entries were applied out of order',
  14: 'too many reading threads, or one that was not fenced off',
  15: 'calls of a snapshot are out of order',
  16: 'calls of a load are out of order',
  17: 'a record with a deadline is not in the index of deadlines',
  18: 'a block that was to be moved holds no record that can be found',
  19: 'the record of a session went away while a command of it was carried out',
  200: 'a reply is longer than the output can be',
  201: 'the open entry does not fit in its region',
  202: 'the items of an entry do not match its commands',
  203: 'a connection record is wrong',
  204: 'a transaction record is wrong',
  205: 'the texts do not fit in their region',
  206: 'a sequence number is out of order',
};

/** Thrown when an invariant of the kernel's does not hold: the process must not go on with its memory. */
export class KernelError extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`kernel check ${code} failed: ${texts[code] ?? 'unknown check'}`);
    this.name = 'KernelError';
    this.code = code;
  }
}
