import { makeScratch, type Scratch } from './scratch.js';
import { startServer, type TestServer } from './session-server.js';

/** A folder of its own for a test of commands, of whose images one is served at a time. */
export class ServedScratch implements Scratch {
  readonly #scratch = makeScratch();
  server: TestServer | null = null;

  get folder(): string {
    return this.#scratch.folder;
  }

  path(name: string): string {
    return this.#scratch.path(name);
  }

  /** Returns its URI. `allow` as `--allow` has it; this machine only if empty. */
  async serve(path: string, allow: readonly string[] = []): Promise<string> {
    await this.stopServing();
    this.server = await startServer([path], { allow });
    return `ggate://127.0.0.1:${this.server.port}${path}`;
  }

  async stopServing(): Promise<void> {
    await this.server?.close();
    this.server = null;
  }

  remove(): void {
    this.#scratch.remove();
  }

  async close(): Promise<void> {
    await this.stopServing();
    this.remove();
  }
}
