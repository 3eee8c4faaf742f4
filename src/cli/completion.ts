/** Completion and hints, from the command table. */
import { type Command, commands } from '../protocol/commands.js';

const options: Readonly<Record<string, readonly string[]>> = {
  SET: ['EX', 'NX', 'PX', 'XX'],
  GET: ['STALE'],
  KEYS: ['LIMIT'],
};

function commandOf(word: string): Command | undefined {
  return commands.find((command) => command.name === word.toUpperCase());
}

/** Readline's completer: what the word under the cursor may become, and the word. Keys are the user's own: none offered. */
export function complete(line: string): [string[], string] {
  const words = line.trimStart().split(/[ \t]+/);
  const word = words.at(-1) ?? '';
  const first = words[0] ?? '';
  let choices: readonly string[] = [];
  if (words.length === 1 || (words.length === 2 && first.toUpperCase() === 'HELP'))
    choices = commands.map((c) => c.name);
  else if (word !== '') choices = options[first.toUpperCase()] ?? [];
  const found = choices.filter((choice) => choice.startsWith(word.toUpperCase()));
  // In the case that the user types in.
  const lower = word !== '' && word === word.toLowerCase();
  return [found.map((choice) => `${lower ? choice.toLowerCase() : choice} `), word];
}

/** What could still be typed behind `line`: the arguments that are missing, as the command's usage shows them. */
export function hint(line: string): string {
  const text = line.trimStart();
  const words = text.split(/[ \t]+/);
  const command = commandOf(words[0] ?? '');
  if (!command || command.usage === '' || text.includes('"')) return '';
  const blank = /[ \t]$/.test(text);
  const typed = words.length - 1 - (blank ? 1 : 0);
  const given = new Set(words.slice(1).map((word) => word.toUpperCase()));
  const missing = usageWords(command.usage).filter((word, position) => {
    const names = optionNames(word);
    return names.length === 0 ? position >= typed : !names.some((name) => given.has(name));
  });
  return missing.length === 0 ? '' : `${blank ? '' : ' '}${missing.join(' ')}`;
}

/** The options of a group such as `[EX s|PX ms]`, which may stand anywhere behind the other arguments. */
function optionNames(word: string): string[] {
  return word.match(/\b[A-Z]{2,}\b/g) ?? [];
}

/** `[prefix] [LIMIT n]` are two; a group in brackets stays together. */
function usageWords(usage: string): string[] {
  return usage.match(/\[[^\]]*\]|\S+/g) ?? [];
}
