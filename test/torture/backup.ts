import { until } from '../support/until.js';
import type { Cable } from './hosts.js';
import { commandOn, Program } from './programs.js';
import { runTool } from '../support/tools.js';

const PORT = 3080;

/** A host with an image and a `ggmirror serve` for it. */
export class Backup {
  #server: Program | null = null;

  constructor(
    readonly index: number,
    readonly cable: Cable,
    readonly image: string,
    private readonly logPath: string,
    private readonly endedByItself: (what: string) => void,
  ) {}

  get name(): string {
    return `backup ${this.index}`;
  }

  get uri(): string {
    return `ggate://${this.cable.backupAddress}:${PORT}${this.image}`;
  }

  get isUp(): boolean {
    return this.#server !== null;
  }

  async serve(): Promise<void> {
    const words = ['serve', '--port', String(PORT), '--allow', '198.51.100.0/24', this.image];
    const { host } = this.cable;
    const server = Program.start(host, words, this.logPath, (how) => {
      this.endedByItself(`the server of ${this.name} ended by itself: ${how}`);
    });
    this.#server = server;
    await until(`the server of ${this.name}`, () => server.isOver || /listening/i.test(server.output));
  }

  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.kill();
  }

  async pause(): Promise<void> {
    await this.#server?.pause();
  }

  resume(): void {
    this.#server?.resume();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.stop();
  }

  /** Runs ggmirror there to its end. Rejects, with what it said, if it fails. */
  run(...words: readonly string[]): Promise<string> {
    return runTool(...commandOn(this.cable.host, words));
  }
}
