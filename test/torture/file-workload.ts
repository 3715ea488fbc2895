import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { SeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { SECTOR_BYTES } from './blocks.js';
import { FileModel } from './file-model.js';

const FILES = 24;
const FILE_SECTORS_MAX = 160;
const OVERWRITE_SECTORS_MAX = 16;
/** Each has its own files. */
const WRITERS = 3;
const PAUSE_MS_MAX = 300;
/** A machine that is busy with other things included. */
const OPERATION_MS = 180_000;

/**
 * What is done to files, each by programs of their own: a file system whose disk hangs holds whoever uses it, and this
 * process has to go on. $1 is the file, $2 where in it, $3 its folder.
 */
const SCRIPTS = {
  replace: 'dd of="$1.new" bs=64k conv=fsync status=none && mv -T "$1.new" "$1" && sync "$3"',
  overwrite: 'dd of="$1" bs=64k oflag=seek_bytes seek="$2" conv=notrunc status=none',
  overwriteSynced: 'dd of="$1" bs=64k oflag=seek_bytes seek="$2" conv=notrunc,fsync status=none',
  remove: 'rm -f "$1" && sync "$3"',
  /** As the kernel remembers it. */
  read: 'if test -e "$1"; then cat "$1"; else exit 3; fi',
  /** As the disk has it. */
  readDirect: 'if test -e "$1"; then dd if="$1" bs=64k iflag=direct status=none; else exit 3; fi',
} as const;
const NO_FILE = 3;

interface Answer {
  readonly code: number | null;
  readonly bytes: Buffer;
  readonly said: string;
}

export interface FileWorkloadOptions {
  readonly seed: number;
  /** Where the file system is mounted, or will be. */
  readonly folder: string;
  /** Something is wrong with the mirror. */
  readonly broken: (what: string) => void;
}

/** Writers that replace, change and remove files of a file system, and know what was synced and what is there. */
export class FileWorkload {
  readonly #models: readonly FileModel[];
  /** What is under way: what it is, and since when. */
  readonly #underWay = new Map<symbol, { readonly what: string; readonly sinceMs: number }>();
  readonly counts = { syncs: 0, fileReads: 0, filesChecked: 0 };
  #ended: Promise<unknown> = Promise.resolve();
  #isStopping = true;
  #mayFail = false;
  #number = 1;

  constructor(private readonly options: FileWorkloadOptions) {
    // Content of a file that is found outside of it, or the other way round, is told by the seed.
    const seed = (options.seed + 2 ** 31) % 2 ** 32;
    this.#models = Array.from({ length: FILES }, (_, index) => new FileModel(index, seed));
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  start(): void {
    this.#isStopping = false;
    this.#mayFail = false;
    const writers = Array.from({ length: WRITERS }, (_, index) =>
      this.#writer(index, new SeededRandom(this.options.seed + 7000 * (index + 1) + this.#number)),
    );
    this.#ended = Promise.all(writers);
  }

  /** From now on a request may fail: the mirror is about to die under the file system. */
  expectFailure(): void {
    this.#mayFail = true;
  }

  /** Resolves when nothing uses the file system any more. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    let isOver = false;
    const ended = this.#ended.then(() => (isOver = true));
    await until('the end of what files are used for', () => isOver, OPERATION_MS);
    await ended;
  }

  /** All that was written is on stable storage: the file system was unmounted in order. */
  synced(): void {
    for (const model of this.#models) model.synced();
  }

  /** What takes too long although the mirror runs. */
  overdue(runningSinceMs: number): string[] {
    const nowMs = performance.now();
    return [...this.#underWay.values()]
      .filter(({ sinceMs }) => nowMs - Math.max(sinceMs, runningSinceMs) > OPERATION_MS)
      .map(({ what }) => `${what} is not done after ${Math.round(OPERATION_MS / 1000)} s`);
  }

  /**
   * Reads every file, wherever the file system is mounted. `order`: it was unmounted in order. `crash`: it was not, and
   * what is found there is so from now on; `copy`: it was not, and this is a copy. Rejects if something is wrong.
   */
  async check(folder: string, after: 'order' | 'crash' | 'copy'): Promise<void> {
    for (const [index, model] of this.#models.entries()) {
      const found = await this.#read(join(folder, nameOf(index)), 'read');
      const wrong = after === 'order' ? model.wrongNow(found) : model.wrongAfterCrash(found);
      if (wrong !== null) throw new Error(`file ${nameOf(index)} in ${folder}, after ${after}: ${wrong}`);
      if (after === 'crash') model.settle(found);
      this.counts.filesChecked += 1;
    }
  }

  async #writer(first: number, random: SeededRandom): Promise<void> {
    while (!this.#isStopping) {
      const index = first + WRITERS * random.below(FILES / WRITERS);
      try {
        await this.#step(index, random);
      } catch (error) {
        if (!this.#mayFail) this.options.broken(error instanceof Error ? error.message : String(error));
        return;
      }
      await delay(random.below(PAUSE_MS_MAX));
    }
  }

  async #step(index: number, random: SeededRandom): Promise<void> {
    const model = this.#modelOf(index);
    const path = join(this.options.folder, nameOf(index));
    const kind = random.below(100);
    if (kind < 30 || model.sectorCount === 0) {
      const content = model.replace(this.#number++, 1 + random.below(FILE_SECTORS_MAX));
      await this.#change('replace', path, content);
    } else if (kind < 60) {
      const firstSector = random.below(model.sectorCount);
      const countMax = Math.min(OVERWRITE_SECTORS_MAX, model.sectorCount - firstSector);
      const content = model.overwrite(this.#number++, firstSector, 1 + random.below(countMax));
      const isSynced = random.chance(0.7);
      await this.#change(
        isSynced ? 'overwriteSynced' : 'overwrite',
        path,
        content,
        firstSector * SECTOR_BYTES,
      );
      if (!isSynced) return;
    } else if (kind < 66) {
      model.remove();
      await this.#change('remove', path, Buffer.alloc(0));
    } else {
      const wrong = model.wrongNow(await this.#read(path, random.chance(0.7) ? 'readDirect' : 'read'));
      if (wrong !== null) throw new Error(`file ${nameOf(index)} ${wrong}`);
      this.counts.fileReads += 1;
      return;
    }
    model.synced();
    this.counts.syncs += 1;
  }

  #modelOf(index: number): FileModel {
    const model = this.#models[index];
    if (model === undefined) throw new Error(`there is no file ${index}`);
    return model;
  }

  async #change(script: keyof typeof SCRIPTS, path: string, content: Buffer, offsetBytes = 0): Promise<void> {
    const { code, said } = await this.#run(script, path, content, offsetBytes);
    if (code !== 0) throw new Error(`${script} of ${path} failed with ${code ?? 'a signal'}: ${said}`);
  }

  async #read(path: string, script: 'read' | 'readDirect'): Promise<Buffer | null> {
    const { code, bytes, said } = await this.#run(script, path, Buffer.alloc(0), 0);
    if (code === NO_FILE) return null;
    if (code !== 0) throw new Error(`${script} of ${path} failed with ${code ?? 'a signal'}: ${said}`);
    return bytes;
  }

  async #run(
    script: keyof typeof SCRIPTS,
    path: string,
    content: Buffer,
    offsetBytes: number,
  ): Promise<Answer> {
    const key = Symbol(path);
    this.#underWay.set(key, { what: `${script} of ${path}`, sinceMs: performance.now() });
    try {
      return await runShell(SCRIPTS[script], [path, String(offsetBytes), join(path, '..')], content);
    } finally {
      this.#underWay.delete(key);
    }
  }
}

const nameOf = (index: number): string => `f${String(index).padStart(2, '0')}`;

function runShell(script: string, words: readonly string[], input: Buffer): Promise<Answer> {
  const child = spawn('sh', ['-c', script, 'sh', ...words], { stdio: 'pipe', detached: true });
  const chunks: Buffer[] = [];
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  // A program that ends early does not take all of it; how it ended says why.
  child.stdin.on('error', () => undefined).end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, bytes: Buffer.concat(chunks), said: said.trim() }));
  });
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
