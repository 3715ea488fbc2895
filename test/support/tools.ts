import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';

/** Whether all these programs are there. In CI they have to be: their tests must run. */
export function haveTools(...programs: readonly string[]): boolean {
  const missing = programs.filter((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error);
  if (missing.length > 0 && process.env['CI'] === 'true') throw new Error(`missing: ${missing.join(', ')}`);
  return missing.length === 0;
}

/** Runs a program to its end while this process goes on serving it. Rejects, with what it said, if it fails. */
export async function runTool(program: string, ...words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, words, { maxBuffer: 16_777_216, timeout: 120_000 });
  return stdout;
}
