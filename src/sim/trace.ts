/** A running hash of everything that happens in a world: two runs of a seed must end with the same one. */

const PRIME = 0x01000193;
/** Hashes of names. */
const names = new Map<string, number>();
const scratch = new Float64Array(1);
const scratchWords = new Uint32Array(scratch.buffer);

export class Trace {
  #low = 0x811c9dc5;
  #high = 0x6c62272e;

  word(word: number): void {
    this.#low = Math.imul(this.#low ^ word, PRIME);
    this.#high = Math.imul(this.#high ^ (word >>> 15) ^ this.#low, PRIME) + 1;
  }

  number(value: number): void {
    scratch[0] = value;
    this.word(scratchWords[0]!);
    this.word(scratchWords[1]!);
  }

  text(text: string): void {
    this.word(text.length);
    for (let at = 0; at < text.length; at++) this.word(text.charCodeAt(at));
  }

  /** A text out of a bounded set, such as the name of a kind of event: hashed once for all. */
  name(name: string): void {
    let hash = names.get(name);
    if (hash === undefined) {
      const own = new Trace();
      own.text(name);
      hash = own.#low;
      names.set(name, hash);
    }
    this.word(hash);
  }

  bytes(bytes: Uint8Array): void {
    this.word(bytes.length);
    const wordsEnd = bytes.length & ~3;
    for (let at = 0; at < wordsEnd; at += 4) {
      this.word(bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    }
    for (let at = wordsEnd; at < bytes.length; at++) this.word(bytes[at]!);
  }

  /** 16 hexadecimal digits. */
  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return hex(this.#high) + hex(this.#low);
  }
}
