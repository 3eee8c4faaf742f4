/**
 * What a person would see on a terminal: the text that is left when the control sequences of an output are carried out.
 * As much of a terminal as readline uses; anything else is an error, so that nothing is misread in silence.
 */
export class Screen {
  readonly #lines: string[][] = [[]];
  #row = 0;
  #column = 0;

  /** The lines, without blanks at their ends. */
  get text(): string {
    return this.#lines
      .map((line) =>
        line
          .map((char) => char ?? ' ')
          .join('')
          .trimEnd(),
      )
      .join('\n');
  }

  write(output: string): this {
    for (const [token] of output.matchAll(/\x1b\[[0-9;?]*[A-Za-z]|[\s\S]/gu)) {
      if (token.length > 1 && token.startsWith('\x1b')) this.#control(token);
      else this.#put(token);
    }
    return this;
  }

  #put(char: string): void {
    if (char === '\r') this.#column = 0;
    else if (char === '\n') this.#move(this.#row + 1);
    else if (char === '\b') this.#column = Math.max(0, this.#column - 1);
    else if (char === '\x07') return;
    else if (char < ' ') throw new Error(`a character that this screen does not know: ${JSON.stringify(char)}`);
    else this.#lines[this.#row]![this.#column++] = char;
  }

  #move(row: number): void {
    this.#row = Math.max(0, row);
    while (this.#lines.length <= this.#row) this.#lines.push([]);
  }

  #control(sequence: string): void {
    const count = Number(/\d+/.exec(sequence)?.[0] ?? '1');
    const final = sequence.at(-1)!;
    const line = this.#lines[this.#row]!;
    if (final === 'A') this.#move(this.#row - count);
    else if (final === 'B') this.#move(this.#row + count);
    else if (final === 'C') this.#column += count;
    else if (final === 'D') this.#column = Math.max(0, this.#column - count);
    else if (final === 'G') this.#column = count - 1;
    else if (final === 'J') this.#lines.length = this.#row + 1;
    if (final === 'J' || final === 'K') line.length = Math.min(this.#column, line.length);
    if (!'ABCDGJKmhl'.includes(final))
      throw new Error(`a sequence that this screen does not know: ${JSON.stringify(sequence)}`);
  }
}
