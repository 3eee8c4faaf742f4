/**
 * Names of commands and texts of messages. The host writes them at start as one blob (src/store/text-blob.ts, made from
 * src/protocol/commands.ts), so that no text is compiled into the kernel.
 *
 * ```
 *  0  u32  magic 0x31545844 ("DXT1")     4  u32  number of commands     8  u32  number of messages
 * 12  u32  offset of HELP's reply       16  u32  its length            20  u32  bytes of the blob     24  8 B zeros
 * 32  commands, in the order of their codes, which run from 1; 40 bytes each:
 *        0  8 B  name in upper case, zeros behind it
 *        8  u32  code    12  u32 class    16  u16 fewest arguments    18  u16 most (0xffff: any number)
 *       20  u32  1: allowed in a transaction
 *       24  u32  offset of the error for a wrong number of arguments    28  u32  its length
 *       32  u32  offset of the reply to `HELP name`                     36  u32  its length
 * then messages, 8 bytes each: u32 offset, u32 length
 * then the texts: lines without their newline. In a message \x01 stands for a word, \x02 for a number.
 * ```
 *
 * Names are letters only and at most 8 bytes, so clearing bit 5 of each byte of a word folds exactly the letters to upper
 * case and turns nothing else into a letter. A hash table of 64 entries (u64 name, u32 command, u32 0) at F_NAMES finds
 * the command.
 */
import { F_NAMES, FAIL_TEXTS } from './front';
import { TEXT_BASE, TEXT_SIZE } from './layout';
import { check } from './memory';

const MAGIC: u32 = 0x31545844;
const COMMANDS: usize = TEXT_BASE + 32;
const COMMAND_BYTES: u32 = 40;
const NAMES_MASK: u32 = 63;

// @ts-ignore: decorator
@inline
export function commandName(command: usize): usize {
  return command;
}

// @ts-ignore: decorator
@inline
export function commandCode(command: usize): u32 {
  return load<u32>(command, 8);
}

// @ts-ignore: decorator
@inline
export function commandMin(command: usize): u32 {
  return load<u16>(command, 16);
}

// @ts-ignore: decorator
@inline
export function commandMax(command: usize): u32 {
  return load<u16>(command, 18);
}

// @ts-ignore: decorator
@inline
export function commandInTransaction(command: usize): bool {
  return load<u32>(command, 20) != 0;
}

export function commandNameLength(command: usize): u32 {
  const name = load<u64>(command);
  return name == 0 ? 0 : 8 - (<u32>clz(name) >> 3);
}

// @ts-ignore: decorator
@inline
export function usageText(command: usize): usize {
  return TEXT_BASE + load<u32>(command, 24);
}

// @ts-ignore: decorator
@inline
export function usageLength(command: usize): u32 {
  return load<u32>(command, 28);
}

/** The reply to HELP (command 0), or to `HELP name`. */
export function helpText(command: usize): usize {
  return TEXT_BASE + (command == 0 ? load<u32>(TEXT_BASE, 12) : load<u32>(command, 32));
}

export function helpLength(command: usize): u32 {
  return command == 0 ? load<u32>(TEXT_BASE, 16) : load<u32>(command, 36);
}

// @ts-ignore: decorator
@inline
function messageEntry(id: u32): usize {
  return COMMANDS + load<u32>(TEXT_BASE, 4) * COMMAND_BYTES + (id << 3);
}

// @ts-ignore: decorator
@inline
export function messageText(id: u32): usize {
  return TEXT_BASE + load<u32>(messageEntry(id));
}

// @ts-ignore: decorator
@inline
export function messageLength(id: u32): u32 {
  return load<u32>(messageEntry(id), 4);
}

// @ts-ignore: decorator
@inline
function home(name: u64): u32 {
  return <u32>((name * 0x9e3779b97f4a7c15) >> 58);
}

/** The command whose name is the word of `length` bytes at `word` (8 bytes can be read there), or 0. */
export function findCommand(word: usize, length: u32): usize {
  if (length == 0 || length > 8) return 0;
  const mask = length == 8 ? <u64>-1 : ((<u64>1) << ((<u64>length) << 3)) - 1;
  const name = load<u64>(word) & mask & 0xdfdfdfdfdfdfdfdf;
  let place = home(name);
  while (true) {
    const entry = F_NAMES + (place << 4);
    const command: usize = load<u32>(entry, 8);
    if (command == 0) return 0;
    if (load<u64>(entry) == name) return command;
    place = (place + 1) & NAMES_MASK;
  }
}

/** Checks the blob and builds the table of names. */
export function textsInit(): void {
  const commands = load<u32>(TEXT_BASE, 4);
  check(load<u32>(TEXT_BASE) == MAGIC, FAIL_TEXTS);
  check(commands < NAMES_MASK, FAIL_TEXTS);
  check(load<u32>(TEXT_BASE, 20) <= TEXT_SIZE, FAIL_TEXTS);
  memory.fill(F_NAMES, 0, (NAMES_MASK + 1) << 4);
  for (let i: u32 = 0; i < commands; i++) {
    const command = COMMANDS + i * COMMAND_BYTES;
    check(commandCode(command) == i + 1, FAIL_TEXTS);
    const name = load<u64>(command);
    let place = home(name);
    while (load<u32>(F_NAMES + (place << 4), 8) != 0) place = (place + 1) & NAMES_MASK;
    store<u64>(F_NAMES + (place << 4), name);
    store<u32>(F_NAMES + (place << 4), <u32>command, 8);
  }
}
