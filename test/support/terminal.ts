import { execFileSync } from 'node:child_process';
import { until } from './until.js';

/** A terminal of 100 columns in which a command line runs in sh. Close it after each test. */
export class Terminal {
  readonly #socket = `ggmirror-test-${process.pid}-${Math.floor(performance.now())}`;

  constructor(commandLine: string) {
    const shell = `${commandLine}; echo "exit status $?"; exec sleep 1000`;
    this.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '24', shell);
  }

  get screen(): string {
    return this.#tmux('capture-pane', '-p');
  }

  /** Whether a screen of its own is shown, and whether there is a cursor. */
  get isOwnScreen(): boolean {
    return this.#tmux('display-message', '-p', '#{alternate_on}').trim() === '1';
  }

  get hasCursor(): boolean {
    return this.#tmux('display-message', '-p', '#{cursor_flag}').trim() === '1';
  }

  /** As tmux names them: 'C-c'. */
  press(key: string): void {
    this.#tmux('send-keys', key);
  }

  async untilShown(text: RegExp): Promise<void> {
    await until(`${String(text)} on the terminal`, () => text.test(this.screen));
  }

  close(): void {
    this.#tmux('kill-server');
  }

  #tmux(...words: readonly string[]): string {
    return execFileSync('tmux', ['-L', this.#socket, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}
