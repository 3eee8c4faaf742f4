/** Seeded random input for a store: commands of all kinds, right and wrong, and entries of peers. */
import * as payloads from './payloads.js';

/** A generator of pseudo-random numbers (mulberry32): one seed, one sequence. */
export class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  /** An integer from 0 to n - 1. */
  below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * n);
  }

  /** True once in n times. */
  once(n: number): boolean {
    return this.below(n) === 0;
  }

  of<T>(...choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  many<T>(from: number, to: number, make: () => T): T[] {
    return Array.from({ length: from + this.below(to - from + 1) }, make);
  }
}

const integers = [
  '0',
  '1',
  '-1',
  '7',
  '-12',
  '9223372036854775807',
  '-9223372036854775808',
  '9007199254740993',
  '4611686018427387904',
];
const almostIntegers = ['', '-', '-0', '01', '+1', '1 ', '9223372036854775808', 'x', '1e3'];
const sequences = [
  '\xc3\xa9',
  '\xe2\x82\xac',
  '\xf0\x9f\x98\x80',
  '\xed\xa0\x80',
  '\xc0\xaf',
  '\xe2\x82',
  '\xf4\x90\x80\x80',
];

/** Writes commands for one connection after the other. */
export class RandomInput {
  readonly dice: Dice;
  /** Numbers that may be those of sessions. */
  readonly sessions: number[] = [];
  private readonly longest: number;

  /** `longest`: bytes of the longest keys and values. */
  constructor(dice: Dice, longest: number) {
    this.dice = dice;
    this.longest = longest;
  }

  private bytes(most: number): string {
    const { dice } = this;
    const byte = () => {
      if (dice.once(6)) return dice.of(...sequences);
      return String.fromCharCode(dice.once(3) ? dice.below(256) : 97 + dice.below(26));
    };
    return dice.many(0, most, byte).join('').slice(0, most);
  }

  private plain(most: number): string {
    return 'abcdefgh'.repeat(most).slice(0, this.dice.below(most + 1));
  }

  key(): string {
    const { dice } = this;
    if (dice.once(40)) return this.plain(this.longest);
    if (dice.once(30)) return this.bytes(12);
    if (dice.once(40)) return '';
    return `${dice.of('k', 'key:', '\xff')}${dice.below(dice.of(3, 12, 60))}`;
  }

  value(): string {
    const { dice } = this;
    if (dice.once(3)) return dice.of(...integers);
    if (dice.once(12)) return dice.of(...almostIntegers);
    if (dice.once(15)) return this.plain(this.longest);
    return dice.once(4) ? this.bytes(20) : this.plain(12);
  }

  /** A word as a client may write it: bare where that is possible, or quoted, with escapes in many forms. */
  word(text: string): string {
    const { dice } = this;
    const bare = text !== '' && !/[ \t\n\r]/.test(text) && !text.startsWith('"');
    return bare && !dice.once(4) ? text : `"${Array.from(text, (char) => this.quoted(char)).join('')}"`;
  }

  private quoted(char: string): string {
    const { dice } = this;
    const code = char.charCodeAt(0);
    const short = {
      '"': '\\"',
      '\\': '\\\\',
      '\n': '\\n',
      '\r': '\\r',
      '\t': '\\t',
      '\b': '\\b',
      '\f': '\\f',
      '/': '\\/',
    }[char];
    if (short !== undefined && (char === '"' || char === '\\' || char === '\n' || dice.once(2))) return short;
    if (!dice.once(8)) return char;
    const hex = (code < 0x80 ? code : 0xdc00 + code).toString(16).padStart(4, '0');
    return `\\u${dice.once(2) ? hex : hex.toUpperCase()}`;
  }

  private keys(): string {
    return this.dice.many(1, 5, () => this.word(this.key())).join(' ');
  }

  private name(name: string): string {
    return this.dice.once(10) ? name.toLowerCase() : name;
  }

  /** One command line without its end. */
  line(): string {
    const { dice } = this;
    if (dice.once(25)) return this.nonsense();
    const [key, value] = [this.word(this.key()), this.word(this.value())];
    const make = dice.of(
      () => `${this.name('SET')} ${key} ${value}`,
      () => `${this.name('SET')} ${key} ${value}`,
      () => `SET ${key} ${value} ${dice.of('NX', 'XX', 'nx', 'xX', 'EX')}`,
      () => `SET ${key} ${value} ${this.options()}`,
      () => `${this.name('TTL')} ${key}`,
      () => dice.of(`PTTL ${key}`, `PERSIST ${key}`, `persist ${key}`),
      () => `${this.name('GET')} ${key}`,
      () => `GET ${key}`,
      () => `GET ${key} ${dice.of('STALE', 'stale', 'STALE', '"sta\\u006ce"', 'x', '')}`,
      () => `DEL ${this.keys()}`,
      () => `EXISTS ${this.keys()}`,
      () => `MGET ${this.keys()}`,
      () => `INCR ${key}`,
      () => `INCR ${key} ${this.word(dice.of(...integers, ...almostIntegers))}`,
      () => `CAS ${key} ${value} ${this.word(this.value())}`,
      () => dice.of('BEGIN', 'BEGIN', 'COMMIT', 'COMMIT', 'ROLLBACK'),
      () => dice.of('BEGIN', 'COMMIT', 'begin', 'commit'),
      () => this.sessionLine(),
      () => this.sequenced(`${dice.of('INCR', 'DEL', 'PERSIST', 'incr')} ${key}`),
      () => this.sequenced(`SET ${key} ${value} ${dice.once(3) ? this.options() : ''}`),
      () =>
        this.sequenced(dice.of('COMMIT', 'COMMIT', 'commit', `CAS ${key} ${value} 1`, `DEL ${this.keys()}`, 'GET a')),
      () => this.list(),
      () => dice.of('PING', 'COUNT', 'HELP', 'HELP get', 'STATUS', 'MEMBERS'),
    );
    return make();
  }

  /** Options of a SET, mostly right ones. */
  private options(): string {
    const { dice } = this;
    const time = () => dice.of('1', '2', '20', '300', '10000000000', '0', '-1', 'x', '10000000000001');
    const expiry = () => (dice.once(2) ? `PX ${dice.below(400) + 1}` : `${dice.of('EX', 'px', 'PX', 'ex')} ${time()}`);
    const condition = () => dice.of('NX', 'XX', 'nx');
    const choices = [expiry, expiry, () => `${expiry()} ${condition()}`, () => `${condition()} ${expiry()}`];
    if (dice.once(6))
      choices.push(
        () => `${expiry()} ${expiry()}`,
        () => `${condition()} ${condition()}`,
      );
    return dice.of(...choices)();
  }

  private list(): string {
    const { dice } = this;
    const limit = `${dice.of('LIMIT', 'limit')} ${dice.of('1', '3', '1000', '1000000', '0', '1000001', 'x')}`;
    const prefix = this.word(dice.of('k', 'key:', 'key:1', '', '\xff', this.key()));
    return dice.of('KEYS', `KEYS ${prefix}`, `KEYS ${limit}`, `KEYS ${prefix} ${limit}`, `KEYS ${prefix} ${prefix}`);
  }

  private sessionLine(): string {
    const { dice } = this;
    if (dice.once(2)) return this.name('SESSION');
    return `SESSION ${dice.once(3) ? dice.of('0', 'x', '9007199254740991') : this.session()}`;
  }

  private session(): number {
    return this.sessions.length === 0 ? this.dice.below(50) : this.dice.of(...this.sessions);
  }

  /** A number that has been given out often, and some that were not. */
  private sequence(): number {
    return this.dice.once(30) ? this.dice.below(1_000) : 1 + this.dice.below(this.dice.of(4, 20, 300));
  }

  private sequenced(command: string): string {
    const { dice } = this;
    const number = dice.once(30) ? dice.of('x', '0', '', '9007199254740992') : this.sequence();
    const from = dice.once(4) ? ` FROM ${dice.once(8) ? this.sequence() : 1 + dice.below(Number(number) || 1)}` : '';
    return `SEQ ${number}${from} ${command}`;
  }

  private nonsense(): string {
    const { dice } = this;
    const half = this.line();
    return dice.of(
      () => '',
      () => ' \t ',
      () => this.bytes(90).replace(/\n/g, ''),
      () => half.slice(0, dice.below(half.length + 1)),
      () => `${half} ${this.word(this.value())}`,
      () => `${half}${dice.of('"', ' "', ' "a"b', ' "\\', ' "\\x"', ' "\\ud800"', ' "\\udcff', '\\')}`,
      () => `\t${half.replace(/ /g, dice.of('  ', '\t', ' \t'))} `,
      () => dice.of('GET', 'SET', 'CAS a b', 'HELP nonsense', 'HELP a b', 'ROLLBACK x', 'COMMIT x'),
      () => dice.of('SEQ 1', 'SEQ 1 FROM 1', 'SEQ 1 FROM 1 x', 'SEQ 1 SEQ 2 DEL a', 'SESSION 1 2', 'SEQ 1 BEGIN'),
      () => `GET ${'x'.repeat(dice.below(2 * this.longest))}`,
    )();
  }

  /** The operations section of an entry, and how many commands are in it. */
  operations(withReads = false): { commands: number; bytes: Uint8Array } {
    const { dice } = this;
    const parts = dice.many(1, 6, () => this.operation(withReads));
    return { commands: parts.length, bytes: payloads.joinAll(parts) };
  }

  private operation(withReads: boolean): Uint8Array {
    const { dice } = this;
    if (dice.once(12)) return dice.once(2) ? payloads.session() : payloads.session(Math.max(1, this.session()));
    if (!dice.once(5)) return this.command(withReads);
    const number = Math.max(1, this.sequence());
    const from = dice.once(4) ? dice.below(number + 1) : 0;
    const command = dice.once(5) ? payloads.fence() : this.command(false);
    return payloads.join(payloads.seq(Math.max(1, this.session()), number, from), command);
  }

  private command(withReads: boolean): Uint8Array {
    const { dice } = this;
    const key = this.key();
    const revision = () => dice.of(0, 0, dice.below(200));
    const timed = () => payloads.setFor(this.key(), this.value(), 1 + dice.below(dice.of(5, 300)));
    const write = () =>
      dice.of(
        () => payloads.del(this.key()),
        () => payloads.set(this.key(), this.value(), dice.of(0, 0, 16)),
        timed,
      )();
    return dice.of(
      () => payloads.set(key, this.value()),
      () => payloads.set(key, this.value(), dice.below(3)),
      () => payloads.join(...dice.many(0, 3, () => payloads.del(this.key(), true)), payloads.del(key)),
      () => payloads.setFor(key, this.value(), 1 + dice.below(dice.of(5, 300)), dice.below(3)),
      () => dice.of(payloads.set(key, this.value(), 16), payloads.persist(key)),
      () => payloads.incr(key, BigInt(dice.of(...integers))),
      () => payloads.cas(key, this.value(), this.value()),
      () =>
        payloads.commit(
          dice.many(0, 3, () => ({ key: this.key(), revision: revision() })),
          ...dice.many(0, 5, write),
        ),
      () => (withReads ? payloads.get(key) : payloads.set(key, '1')),
    )();
  }

  /** Bytes with some of them changed or cut off. */
  damaged(bytes: Uint8Array): Uint8Array {
    const { dice } = this;
    const damaged = bytes.slice(0, dice.once(3) ? dice.below(bytes.length + 1) : bytes.length);
    for (let i = dice.below(4); i > 0 && damaged.length > 0; i--) {
      damaged[dice.below(damaged.length)] = dice.of(dice.below(256), 0, 255, dice.below(8));
    }
    return damaged;
  }
}
