/**
 * Exactly once, for clients that send each command under a number until it is answered.
 *
 * Whatever a number was answered first, it is answered again. Each command counts one key up by one, so a key has always been
 * counted up exactly as often as commands on it were done; the one that is still unanswered may have counted or not.
 */
import { Violation } from './violation.js';

export class RetryChecker {
  readonly #answers = new Map<string, string>();
  readonly #done = new Map<string, number>();
  /** Keys whose last command is unanswered. */
  readonly #open = new Set<string>();

  get keys(): string[] {
    return [...this.#done.keys()];
  }

  /** The command of this name is about to be sent for the first time; it counts the key up. */
  begun(key: string): void {
    this.#done.set(key, this.#done.get(key) ?? 0);
    this.#open.add(key);
  }

  /** A command that was never sent is dropped: it has not counted. */
  dropped(key: string): void {
    this.#open.delete(key);
  }

  /** The command was answered, maybe again; true the first time. */
  answered(command: string, reply: string): boolean {
    const before = this.#answers.get(command);
    if (before !== undefined && before !== reply)
      throw new Violation('exactly once', `${command} was answered ${before}, and when it was sent again ${reply}`);
    this.#answers.set(command, reply);
    return before === undefined;
  }

  /** The key's command is done: it has counted, to `value` if that is known, or it never will. */
  decided(key: string, counted: boolean, value?: number): void {
    const done = this.#done.get(key)! + (counted ? 1 : 0);
    if (value !== undefined && value !== done)
      throw new Violation('exactly once', `the command that counts ${key} to ${done} counted it to ${value}`);
    this.#done.set(key, done);
    this.#open.delete(key);
  }

  /** What the key holds when all is over. */
  final(key: string, value: number): void {
    const done = this.#done.get(key)!;
    if (value !== done && !(this.#open.has(key) && value === done + 1))
      throw new Violation(
        value < done ? 'durability' : 'exactly once',
        `${key} was counted up ${done} times by commands that were answered, and holds ${value}`,
      );
  }
}
