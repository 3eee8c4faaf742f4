/** The built program on a pseudo-terminal, made by util-linux's `script`, and what a person would see of it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { program, until } from '../support/cluster.js';
import { Screen } from './screen.js';

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

export class PseudoTerminal {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output = '';
  exitCode: number | null | undefined;

  /** The program with these arguments; with `shell`, a shell that runs it as a job first and then takes what is typed. */
  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}, cwd?: string, shell = false) {
    const command = [process.execPath, program, ...args].map(quoted).join(' ');
    const run = shell ? `PS1='$ ' exec bash --norc --noprofile -i` : `exec ${command}`;
    this.child = spawn('script', ['-qefc', `stty cols 100 rows 40; ${run}`, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd,
      env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh', ...env },
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
    });
    this.child.stdin!.on('error', () => {});
    if (shell) this.type(`${command}\n`);
    this.exited = new Promise((resolve) =>
      this.child.once('close', (code) => {
        this.exitCode = code;
        resolve(code);
      }),
    );
  }

  type(text: string): void {
    this.child.stdin!.write(text);
  }

  get screen(): string {
    return new Screen().write(this.output).text;
  }

  /** Waits until the screen ends with `text`. */
  async shows(text: string, deadlineMs = 15_000): Promise<void> {
    try {
      await until(`the screen ends with ${JSON.stringify(text)}`, deadlineMs, () => this.screen.endsWith(text));
    } catch (error) {
      throw new Error(`${(error as Error).message}; it shows:\n${this.screen}`);
    }
  }

  /** Types a line when there is a prompt, and waits for the next prompt. */
  async enter(line: string): Promise<void> {
    await this.shows('\n>');
    this.type(`${line}\r`);
    await until(`an answer to ${line}`, 15_000, () =>
      /\n> .*\n(.*\n)+>$/.test(this.screen.slice(this.screen.lastIndexOf(`> ${line}`) - 1)),
    );
  }

  /** Ends it if it has not. */
  async kill(): Promise<void> {
    if (this.exitCode === undefined) this.child.kill('SIGKILL');
    await this.exited;
  }
}
