/** The way of every reply: to the connection if it is still there, within the limit. */
import type { Connection } from './js-connection.js';
import { Output } from './js-output.js';
import type { Texts } from './js-text.js';

export class Replies {
  readonly output = new Output();
  /** A connection has one unanswered command less. */
  onAnswered: (connection: Connection) => void = () => {};
  private readonly texts: Texts;
  private readonly maxReply: number;

  constructor(texts: Texts, maxReply: number) {
    this.texts = texts;
    this.maxReply = maxReply;
  }

  limited(line: string): string {
    return line.length > this.maxReply ? this.texts.fixed.replyTooLong : line;
  }

  /** Replies to a command that is carried out as soon as it is parsed. */
  send(connection: Connection, line: string): void {
    this.output.reply(connection, this.limited(line));
  }

  /** Replies to an unanswered command. */
  answer(connection: Connection, line: string): void {
    const reply = this.limited(line);
    if (!connection.closed) this.output.reply(connection, reply);
    connection.answered(reply.length);
    this.onAnswered(connection);
  }
}
