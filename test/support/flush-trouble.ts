import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './until.js';

/** Programs whose flushes fail, or never end, as long as a test says so. */
export class FlushTrouble {
  readonly #trouble: string;
  /** For a program that Node runs. */
  readonly environment: Readonly<Record<string, string>>;

  /** `directory` is the test's own, which removes it. */
  constructor(directory: string) {
    this.#trouble = join(directory, 'flush-trouble');
    const patch = join(directory, 'flush-trouble.mjs');
    writeFileSync(patch, patchFor(this.#trouble));
    this.environment = { NODE_OPTIONS: `--import=${patch}` };
  }

  begin(what: 'fails' | 'hangs'): void {
    writeFileSync(this.#trouble, what);
  }

  /** Resolves when a flush has met it. */
  async met(): Promise<void> {
    await until('a flush', () => existsSync(metBy(this.#trouble)));
  }

  end(): void {
    rmSync(this.#trouble);
  }
}

const metBy = (trouble: string): string => `${trouble}.met`;

const patchFor = (trouble: string): string => `
  import fs from 'node:fs';
  import { syncBuiltinESMExports } from 'node:module';
  const real = fs.fdatasync;
  fs.fdatasync = (fd, done) => {
    const what = fs.existsSync(${JSON.stringify(trouble)}) ? fs.readFileSync(${JSON.stringify(trouble)}, 'latin1') : '';
    if (what !== '') fs.writeFileSync(${JSON.stringify(metBy(trouble))}, '');
    if (what === 'fails') done(Object.assign(new Error('EIO'), { code: 'EIO' }));
    else if (what !== 'hangs') real(fd, done);
  };
  syncBuiltinESMExports();
`;
