import { readFileSync, readdirSync } from 'node:fs';

/** Of a process and all its descendants. PSS divides shared pages among those that share them, so its sum is true. */
export interface Memory {
  readonly processes: number;
  readonly rssMiB: number;
  readonly pssMiB: number;
}

/** Null where the system has no /proc/PID/smaps_rollup. */
export function memoryOf(pid: number): Memory | null {
  const rollups = [pid, ...descendantsOf(pid)].flatMap((member) => {
    const rollup = read(`/proc/${member}/smaps_rollup`);
    return rollup === null ? [] : [rollup];
  });
  if (rollups.length === 0) return null;
  const sum = (field: string): number =>
    rollups.reduce((total, rollup) => total + kibibytes(rollup, field), 0) / 1024;
  return { processes: rollups.length, rssMiB: sum('Rss'), pssMiB: sum('Pss') };
}

export const largerOf = (a: Memory | null, b: Memory | null): Memory | null =>
  a === null || (b !== null && b.pssMiB > a.pssMiB) ? b : a;

/** Children, their children and so on; empty where there is no /proc. */
export function descendantsOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of listProcesses()) {
    const stat = read(`/proc/${name}/stat`);
    // The program's name stands in parentheses and may hold anything, so fields are counted from the last one.
    const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined) parents.set(name, Number(parent));
  }
  const found = [pid];
  for (const ancestor of found)
    for (const [child, parent] of parents) if (parent === ancestor) found.push(child);
  return found.slice(1);
}

function listProcesses(): number[] {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return [];
  }
}

const kibibytes = (rollup: string, field: string): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0);

function read(path: string): string | null {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null; // it ended meanwhile
  }
}
