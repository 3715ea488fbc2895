import { promises as fs } from 'node:fs';
import { join } from 'node:path';
import { oneLine, runProgram, type System } from './system.js';

const NAMED_MAX = 5;

/**
 * Who has something open at `path` or in the folders below it, such as 'bash (process 4711)'; null if nobody is found.
 * Processes that hide from us, in other containers for example, are not found.
 */
export async function usersOf(system: System, path: string): Promise<string | null> {
  const users =
    system.platform === 'linux' ? await usersOnLinux(system, path) : await usersOnFreebsd(system, path);
  if (users.length === 0) return null;
  const named = users.slice(0, NAMED_MAX).join(', ');
  return users.length > NAMED_MAX ? `${named} and ${users.length - NAMED_MAX} more` : named;
}

/** Working folder, root, program and open files of every process are symbolic links. Source: proc(5). */
async function usersOnLinux({ procFolder }: System, path: string): Promise<string[]> {
  const isThere = (target: string): boolean => target === path || target.startsWith(`${path}/`);
  const users: string[] = [];
  for (const pid of await entriesOf(procFolder)) {
    if (!/^\d+$/.test(pid)) continue;
    const links = [
      'cwd',
      'root',
      'exe',
      ...(await entriesOf(join(procFolder, pid, 'fd'))).map((fd) => `fd/${fd}`),
    ];
    const targets = await Promise.all(links.map((link) => targetOf(join(procFolder, pid, link))));
    if (targets.some(isThere)) users.push(`${await nameOf(procFolder, pid)} (process ${pid})`);
  }
  return users;
}

/** Lines of fstat(1): user, command, pid, and more; the first is their title. */
async function usersOnFreebsd(system: System, path: string): Promise<string[]> {
  const { stdout } = await runProgram(
    system,
    'fstat',
    path.startsWith(system.devFolder) ? [path] : ['-f', path],
  );
  const found = stdout
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
  return [
    ...new Set(found.flatMap(([, name, pid]) => (pid === undefined ? [] : `${name} (process ${pid})`))),
  ];
}

/** As the kernel calls it; a process may have any name. */
export async function nameOf(procFolder: string, pid: string): Promise<string> {
  return await fs.readFile(join(procFolder, pid, 'comm'), 'utf8').then(oneLine, () => 'a program');
}

const targetOf = (link: string): Promise<string> => fs.readlink(link).catch(() => '' /* it has just ended */);

const entriesOf = (folder: string): Promise<readonly string[]> => fs.readdir(folder).catch(() => []);
