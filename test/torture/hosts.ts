import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { removeLeftovers } from './leftovers.js';

/**
 * Addresses for documentation (RFC 5737), which belong to nobody. They exist only inside the namespaces that are made
 * here, from which no way leads out.
 */
const NETWORK = '198.51.100';
const PREFIX = 'ggtorture';
const NOWHERE = '02:00:00:00:00:fe';

/** A network namespace: what runs in it sees only its own end of cables, as a machine of its own would. */
export interface Host {
  readonly name: string;
  /** What a command line begins with to run there. It becomes the program itself, which dies with this process. */
  readonly enter: readonly [string, ...string[]];
}

/**
 * How a cable is broken. `pulled`: the primary notices at once. `silent`: everything disappears without a word; `there`
 * and `back`: only what goes to the backup, or comes from it. `slow`: 4 Mbit/s.
 */
export const CABLE_TROUBLES = ['pulled', 'silent', 'there', 'back', 'slow'] as const;
export type CableTrouble = (typeof CABLE_TROUBLES)[number];

/** Whether this process may make hosts. In CI it has to be able to. */
export function canMakeHosts(): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const name = `${PREFIX}-${process.pid}-try`;
  try {
    ip('netns', 'add', name);
    try {
      ip('-n', name, 'link', 'add', 'to-try', 'type', 'veth', 'peer', 'name', 'try');
      execFileSync('setpriv', [...enter(name).slice(1), 'true'], { stdio: 'ignore' });
    } finally {
      ip('netns', 'del', name);
    }
    return true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    return false;
  }
}

/** A primary and its backups, each with a cable of its own to the primary. Remove them when nothing runs there. */
export class Hosts {
  readonly #made: string[] = [];

  readonly primary: Host;
  readonly cables: readonly Cable[];

  constructor(backupCount: number) {
    removeDead();
    removeLeftovers();
    try {
      this.primary = this.#add('primary');
      this.cables = Array.from({ length: backupCount }, (_, index) =>
        Cable.lay(this.primary, this.#add(`backup${index}`), index),
      );
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  remove(): void {
    for (const name of this.#made.splice(0)) ip('netns', 'del', name);
  }

  #add(role: string): Host {
    const name = `${PREFIX}-${process.pid}-${role}`;
    ip('netns', 'add', name);
    this.#made.push(name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
    return { name, enter: enter(name) };
  }
}

/** Between primary and a backup. */
export class Cable {
  #trouble: CableTrouble | null = null;

  private constructor(
    private readonly primary: End,
    private readonly backup: End,
    readonly host: Host,
  ) {}

  static lay(primary: Host, backup: Host, index: number): Cable {
    const [port, peer] = [`to-b${index}`, 'to-p'];
    ip('-n', primary.name, 'link', 'add', port, 'type', 'veth', 'peer', 'name', peer, 'netns', backup.name);
    const ends: [End, End] = [
      { namespace: primary.name, port, address: `${NETWORK}.${4 * index + 1}` },
      { namespace: backup.name, port: peer, address: `${NETWORK}.${4 * index + 2}` },
    ];
    for (const end of ends) {
      ip('-n', end.namespace, 'addr', 'add', `${end.address}/30`, 'dev', end.port);
      ip('-n', end.namespace, 'link', 'set', end.port, 'up');
    }
    return new Cable(...ends, backup);
  }

  get backupAddress(): string {
    return this.backup.address;
  }

  get primaryAddress(): string {
    return this.primary.address;
  }

  break(trouble: CableTrouble): void {
    this.heal();
    this.#trouble = trouble;
    if (trouble === 'pulled') this.#set(this.primary, 'down');
    if (trouble === 'slow')
      for (const end of [this.primary, this.backup]) {
        tc(end, 'replace', 'tbf', 'rate', '4mbit', 'burst', '64kb', 'latency', '200ms');
      }
    if (trouble === 'there' || trouble === 'silent') mislead(this.primary, this.backup);
    if (trouble === 'back' || trouble === 'silent') mislead(this.backup, this.primary);
  }

  heal(): void {
    const trouble = this.#trouble;
    this.#trouble = null;
    if (trouble === 'pulled') this.#set(this.primary, 'up');
    if (trouble === 'slow') for (const end of [this.primary, this.backup]) tc(end, 'del');
    if (trouble === 'there' || trouble === 'silent') lead(this.primary, this.backup);
    if (trouble === 'back' || trouble === 'silent') lead(this.backup, this.primary);
  }

  #set({ namespace, port }: End, state: 'up' | 'down'): void {
    ip('-n', namespace, 'link', 'set', port, state);
  }
}

interface End {
  readonly namespace: string;
  readonly port: string;
  readonly address: string;
}

/**
 * What one end sends the other never gets there, and nobody is told: it goes to a hardware address that nobody has. This
 * needs no packet filter, which a bare system lacks.
 */
function mislead({ namespace, port }: End, to: End): void {
  ip('-n', namespace, 'neigh', 'replace', to.address, 'lladdr', NOWHERE, 'dev', port, 'nud', 'permanent');
}

function lead({ namespace, port }: End, to: End): void {
  ip('-n', namespace, 'neigh', 'del', to.address, 'dev', port);
}

function tc({ namespace, port }: End, action: 'replace' | 'del', ...words: readonly string[]): void {
  execFileSync('tc', ['-n', namespace, 'qdisc', action, 'dev', port, 'root', ...words], { stdio: 'pipe' });
}

function ip(...words: readonly string[]): void {
  execFileSync('ip', words, { stdio: 'pipe' });
}

const enter = (name: string): [string, ...string[]] => [
  'setpriv',
  '--pdeathsig',
  'KILL',
  'nsenter',
  `--net=/run/netns/${name}`,
];

/** Of a run that was killed: its programs have died with it. */
function removeDead(): void {
  if (!existsSync('/run/netns')) return;
  for (const name of readdirSync('/run/netns')) {
    const pid = new RegExp(`^${PREFIX}-(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) ip('netns', 'del', name);
  }
}
