import { askMirror } from '../../src/control/control-client.js';
import type { MirrorStatus } from '../../src/control/status.js';
import { systemClock } from '../../src/device/clock.js';
import { runTool } from '../support/tools.js';
import { until } from '../support/until.js';
import type { HostClock } from './host-clock.js';
import type { Host } from './hosts.js';
import { commandOn, Program } from './programs.js';

const START_MS = 180_000;
const ANSWER_MS = 30_000;

export interface MirrorDaemonOptions {
  readonly host: Host;
  readonly name: string;
  readonly local: string;
  readonly uris: readonly string[];
  readonly timeoutSeconds: number;
  readonly runDirectory: string;
  readonly logPath: string;
  readonly clock: HostClock;
  readonly endedByItself: (what: string) => void;
}

/** A `ggmirror start` in the foreground, and the operator who starts it again. */
export class MirrorDaemon {
  #program: Program | null = null;
  #server: Program | null = null;
  /** The local component has everything, as far as the log of the last run tells. */
  #isLocalWhole = true;
  /** Since when it is neither starting nor paused: what requests may be timed from. */
  #runningSinceMs = Infinity;

  constructor(private readonly options: MirrorDaemonOptions) {}

  get isUp(): boolean {
    return this.#program !== null;
  }

  /** Infinity while it does not run. */
  get runningSinceMs(): number {
    return this.#runningSinceMs;
  }

  get name(): string {
    return this.options.name;
  }

  /** Path of the image on its own host. */
  get local(): string {
    return this.options.local;
  }

  /** Providers, the local one first. */
  get components(): readonly string[] {
    return [this.options.local, ...this.options.uris];
  }

  get nbdPath(): string {
    return `${this.options.runDirectory}/${this.options.name}.nbd`;
  }

  /** Where nbdfuse makes a file of it. */
  get diskPath(): string {
    return `${this.options.runDirectory}/${this.options.name}.disk`;
  }

  /**
   * Starts it, without those components that are not there if the local one has everything; otherwise only with all, as
   * often as it takes. Rejects if it does not run in a minute.
   */
  async start(): Promise<void> {
    const { name, local, uris, timeoutSeconds, runDirectory } = this.options;
    const words = ['start', name, local, ...uris, '--foreground', '--run-dir', runDirectory];
    words.push('--timeout', String(timeoutSeconds));
    if (this.#isLocalWhole) words.push('--degraded');
    await until(`mirror ${name} to start (${words.join(' ')})`, () => this.#tryStart(words), START_MS);
  }

  async #tryStart(words: readonly string[]): Promise<boolean> {
    const { host, endedByItself } = this.options;
    const program = Program.start(host, words, this.options, (how) => {
      if (this.#program === program) endedByItself(`the mirror's daemon ended by itself: ${how}`);
    });
    const hasLaunched = (): boolean => program.output.includes(' launched ');
    await until('the daemon to start or to end', () => program.isOver || hasLaunched(), START_MS);
    if (program.isOver) {
      if (this.#isLocalWhole) throw new Error(`a degraded start was refused: ${program.output.slice(-2000)}`);
      return false;
    }
    this.#program = program;
    this.#runningSinceMs = performance.now();
    return true;
  }

  async kill(): Promise<void> {
    const program = this.#leave();
    await program?.kill();
    if (program !== null) this.options.clock.stamp(this.options.local);
    this.#learn(program);
  }

  /** In order; its clients are sent away. */
  async stop(): Promise<void> {
    const program = this.#leave();
    const how = await program?.stop();
    if (how !== '0') throw new Error(`the mirror's daemon ended with ${how ?? 'nothing'}`);
    this.#learn(program);
  }

  /** Offers the image to other hosts, which only may look at it while the mirror runs. */
  async serveImage(): Promise<void> {
    const { host, local, endedByItself } = this.options;
    const words = ['serve', '--port', '3080', '--allow', '198.51.100.0/24', local];
    const server = Program.start(host, words, this.options, (how) => {
      endedByItself(`the primary's server ended by itself: ${how}`);
    });
    this.#server = server;
    await until("the primary's server", () => server.isOver || /listening/i.test(server.output));
  }

  async stopServing(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    await server?.stop();
  }

  /** Another host had it while this one was dead: the local component misses what was written there. */
  goneOnElsewhere(): void {
    this.#isLocalWhole = false;
  }

  async pause(): Promise<void> {
    this.#runningSinceMs = Infinity;
    await this.#program?.pause();
  }

  resume(): void {
    if (this.#program === null) return;
    this.#program.resume();
    this.#runningSinceMs = performance.now();
  }

  async status(): Promise<MirrorStatus> {
    const path = `${this.options.runDirectory}/${this.options.name}.ctl`;
    const asking = { clock: systemClock, timeoutMs: ANSWER_MS };
    return (await askMirror(path, { command: 'status' }, asking)) as MirrorStatus;
  }

  /** Runs ggmirror on the daemon's host to its end. Rejects, with what it said, if it fails. */
  run(...words: readonly string[]): Promise<string> {
    const { host, runDirectory } = this.options;
    return runTool('env', `GGMIRROR_RUN_DIR=${runDirectory}`, ...commandOn(host, words));
  }

  #leave(): Program | null {
    const program = this.#program;
    this.#program = null;
    this.#runningSinceMs = Infinity;
    return program;
  }

  #learn(program: Program | null): void {
    const { name, local } = this.options;
    const said = program?.output ?? '';
    const lost = said.lastIndexOf(`Device ${name}: provider ${local} disconnected`);
    const back = said.lastIndexOf(`Device ${name}: rebuilding provider ${local} finished`);
    if (lost !== back) this.#isLocalWhole = back > lost;
  }
}
