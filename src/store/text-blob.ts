/**
 * The kernel's texts: names, arities and messages of src/protocol/commands.ts as one blob of bytes, in the layout that
 * assembly/text.ts draws. The limits are filled in where a message names them.
 */
import { type Command, commands, helpLines, messageNames, messages, usageError } from '../protocol/commands.js';
import type { StoreLimits } from './store.js';

export const BLOB_MAGIC = 0x31545844;
/** Offsets of the drawing in assembly/text.ts. */
export const BlobOffset = {
  magic: 0,
  commands: 4,
  messages: 8,
  help: 12,
  helpLength: 16,
  bytes: 20,
  table: 32,
} as const;
export const COMMAND_BYTES = 40;
export const MESSAGE_BYTES = 8;
const NAME_BYTES = 8;

/** Texts behind the tables, each put down once. */
class Texts {
  readonly parts: Uint8Array[] = [];
  private end: number;

  constructor(start: number) {
    this.end = start;
  }

  /** Puts a text down and returns where it stands and how long it is. */
  add(text: string): readonly [offset: number, length: number] {
    const bytes = new TextEncoder().encode(text);
    const offset = this.end;
    this.parts.push(bytes);
    this.end += bytes.length;
    return [offset, bytes.length];
  }

  get bytes(): number {
    return this.end;
  }
}

/** A message with the numbers of the limits it names. Throws when it names one that does not exist. */
export function fillIn(text: string, limits: StoreLimits): string {
  return text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = (limits as unknown as Readonly<Record<string, number>>)[name];
    if (value === undefined) throw new Error(`text blob: a message names the limit ${name}, which does not exist`);
    return String(value);
  });
}

/** The reply to HELP, or to HELP of one command: a list of lines. */
function helpReply(command?: Command): string {
  return JSON.stringify(helpLines(command));
}

/** The blob for a kernel with these limits. */
export function textBlob(limits: StoreLimits): Uint8Array {
  const table = BlobOffset.table + commands.length * COMMAND_BYTES + messageNames.length * MESSAGE_BYTES;
  const texts = new Texts(table);
  const head = new DataView(new ArrayBuffer(table));
  const [help, helpLength] = texts.add(helpReply());
  const inOrder = [...commands].sort((a, b) => a.code - b.code);
  inOrder.forEach((command, i) => {
    putCommand(head, BlobOffset.table + i * COMMAND_BYTES, command, texts);
  });
  messageNames.forEach((name, i) => {
    const at = BlobOffset.table + commands.length * COMMAND_BYTES + i * MESSAGE_BYTES;
    putText(head, at, texts.add(fillIn(messages[name], limits)));
  });
  head.setUint32(BlobOffset.magic, BLOB_MAGIC, true);
  head.setUint32(BlobOffset.commands, commands.length, true);
  head.setUint32(BlobOffset.messages, messageNames.length, true);
  head.setUint32(BlobOffset.help, help, true);
  head.setUint32(BlobOffset.helpLength, helpLength, true);
  head.setUint32(BlobOffset.bytes, texts.bytes, true);
  return new Uint8Array(Buffer.concat([new Uint8Array(head.buffer), ...texts.parts]));
}

function putText(head: DataView, at: number, [offset, length]: readonly [number, number]): void {
  head.setUint32(at, offset, true);
  head.setUint32(at + 4, length, true);
}

function putCommand(head: DataView, at: number, command: Command, texts: Texts): void {
  if (!/^[A-Z]{1,8}$/.test(command.name)) throw new Error(`text blob: ${command.name} is not 1 to 8 letters`);
  for (let i = 0; i < NAME_BYTES; i++) head.setUint8(at + i, command.name.charCodeAt(i) || 0);
  head.setUint32(at + 8, command.code, true);
  head.setUint32(at + 12, command.class, true);
  head.setUint16(at + 16, command.min, true);
  head.setUint16(at + 18, command.max, true);
  head.setUint32(at + 20, command.inTransaction ? 1 : 0, true);
  putText(head, at + 24, texts.add(usageError(command)));
  putText(head, at + 32, texts.add(helpReply(command)));
}
