import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { commands, helpLines, messageNames, messages, usageError } from '../../src/protocol/commands.js';
import { defaultLimits } from '../../src/store/store.js';
import { BLOB_MAGIC, BlobOffset, COMMAND_BYTES, fillIn, MESSAGE_BYTES, textBlob } from '../../src/store/text-blob.js';

const blob = Buffer.from(textBlob(defaultLimits));

/** The text whose offset and length stand at `at`. */
function textAt(at: number): string {
  const offset = blob.readUInt32LE(at);
  return blob.toString('utf8', offset, offset + blob.readUInt32LE(at + 4));
}

/** Constants `PREFIX_NAME` of a file of the kernel's. */
function constantsOf(file: string, prefix: string): Map<string, number> {
  const source = readFileSync(new URL(`../../assembly/${file}`, import.meta.url), 'utf8');
  const pattern = new RegExp(`^export const ${prefix}_(\\w+): u32 = (\\d+);$`, 'gm');
  return new Map([...source.matchAll(pattern)].map((match) => [match[1]!, Number(match[2])]));
}

function constantCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

describe('the text blob', () => {
  test('its head names its parts', () => {
    expect(blob.readUInt32LE(BlobOffset.magic)).toBe(BLOB_MAGIC);
    expect(blob.readUInt32LE(BlobOffset.commands)).toBe(commands.length);
    expect(blob.readUInt32LE(BlobOffset.messages)).toBe(messageNames.length);
    expect(blob.readUInt32LE(BlobOffset.bytes)).toBe(blob.length);
    expect(JSON.parse(textAt(BlobOffset.help))).toEqual(helpLines());
  });

  test.each(commands)('the command $name stands at its code with its arguments and texts', (command) => {
    const at = BlobOffset.table + (command.code - 1) * COMMAND_BYTES;
    expect(blob.toString('latin1', at, at + 8).replace(/\0+$/, '')).toBe(command.name);
    expect([blob.readUInt32LE(at + 8), blob.readUInt32LE(at + 12)]).toEqual([command.code, command.class]);
    expect([blob.readUInt16LE(at + 16), blob.readUInt16LE(at + 18)]).toEqual([command.min, command.max]);
    expect(blob.readUInt32LE(at + 20)).toBe(command.inTransaction ? 1 : 0);
    expect(textAt(at + 24)).toBe(usageError(command));
    expect(JSON.parse(textAt(at + 32))).toEqual(helpLines(command));
  });

  test.each(messageNames.map((name, i) => ({ name, i })))('the message $name stands at its number', ({ name, i }) => {
    const text = textAt(BlobOffset.table + commands.length * COMMAND_BYTES + i * MESSAGE_BYTES);
    expect(text).toBe(fillIn(messages[name], defaultLimits));
    expect(text).not.toMatch(/\{\w+\}|\n/);
  });

  test('the limits of the store are filled in', () => {
    expect(fillIn(messages.keyTooLong, { ...defaultLimits, maxKey: 77 })).toContain('the limit is 77');
    expect(() => fillIn('more than {maxNothing}', defaultLimits)).toThrow(/maxNothing/);
  });
});

describe('constants of the kernel', () => {
  test('the numbers of messages are the order of the table', () => {
    const expected = messageNames.map((name, i) => [constantCase(name), i]);
    expect([...constantsOf('messages.ts', 'MSG')]).toEqual(expected);
  });

  test('the codes of commands are those of the table', () => {
    expect([...constantsOf('messages.ts', 'CMD')]).toEqual(commands.map(({ name, code }) => [name, code]));
  });

  test('the numbers of events are those of the store', async () => {
    const { StoreEvent } = await import('../../src/store/store.js');
    const expected = Object.entries(StoreEvent).map(([name, value]) => [name.toUpperCase(), value]);
    expect([...constantsOf('output.ts', 'EVENT')]).toEqual(expected);
  });
});
