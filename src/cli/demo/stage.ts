import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Interrupt } from '../interrupt.js';
import type { ProgressStream } from '../progress.js';
import { type OwnProcess, runOwn, type Surroundings } from './own-process.js';

export interface DemoOptions {
  readonly keep: boolean;
  readonly interrupt: Interrupt;
  /** A line for the person who watches. */
  readonly say: (text: string) => void;
  /** Where progress is drawn; null for nowhere. */
  readonly stream: ProgressStream | null;
}

/** Where the demo takes place: a folder and the processes that work on it, all of which are gone when it is over. */
export class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), 'ggmirror-demo-'));
  readonly runDirectory = this.path('run');
  readonly surroundings: Surroundings = {
    folder: this.folder,
    environment: { GGMIRROR_RUN_DIR: this.runDirectory, XDG_STATE_HOME: this.path('state') },
  };
  readonly #processes: OwnProcess[] = [];
  readonly #atExit = (): void => {
    for (const one of this.#processes) one.kill();
    this.#removeFolder();
  };

  constructor(readonly options: DemoOptions) {
    // For a second ^C, which ends the process without coming back to anybody's end.
    process.once('exit', this.#atExit);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  say(text: string): void {
    this.options.say(text);
  }

  /** A heading with what follows. */
  step(number: number, ...lines: readonly string[]): void {
    this.say(`\n${number}. ${lines.join('\n   ')}`);
  }

  tell(...lines: readonly string[]): void {
    for (const line of lines) this.say(`   ${line}`);
  }

  /** It ends with the demo. */
  take<Process extends OwnProcess>(process: Process): Process {
    this.#processes.push(process);
    return process;
  }

  /** Runs one of our own commands, and shows it and what it prints. */
  async run(...words: readonly string[]): Promise<void> {
    this.tell(`$ ggmirror ${words.join(' ')}`);
    this.tell(...(await runOwn(words, this.surroundings, this.options.interrupt)));
  }

  /** Those that came last end first. */
  async close(): Promise<void> {
    const { interrupt } = this.options;
    for (const one of [...this.#processes].reverse()) {
      if (interrupt.signalNumber !== null) one.kill();
      await one.stop();
    }
    this.#removeFolder();
    process.off('exit', this.#atExit);
  }

  #removeFolder(): void {
    if (!this.options.keep) rmSync(this.folder, { recursive: true, force: true });
  }
}
