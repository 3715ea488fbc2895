/** Rates of a mirror beside what they are compared with, everything in turn in each round. */
import { join } from 'node:path';
import { type FioWork, runFio } from '../fio.js';
import { freePort } from '../../src/cli/demo/free-port.js';
import { median } from '../report.js';
import { startTarget, stopAll, type Target } from '../target.js';
import { makeSparse, Rig } from './rig.js';

export interface RateOptions {
  readonly scratch: string;
  /** On a disk, for what is read from the system's cache of it. */
  readonly diskScratch: string;
  readonly imageMiB: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly only: string;
}

/** One row: a load, who is measured, and what their medians are to be. */
interface RateRow {
  readonly work: FioWork;
  readonly targets: readonly (readonly [name: string, target: Target])[];
  readonly reference: string;
  readonly target: number;
  /** From the medians of all targets, in their order. */
  readonly ratio: (medians: readonly number[]) => number;
}

export interface Row {
  readonly name: string;
  readonly ours: string;
  readonly reference: string;
  readonly ratio: number;
  readonly target: number;
  readonly isMet: boolean;
}

const small = { blockBytes: 4096 } as const;

/** qemu's own mirror over a file and an NBD export on loopback, as ours has its backup, with the least it can be asked for. */
async function startQuorum(scratch: string, imageMiB: number): Promise<Target> {
  const [local, backup] = [join(scratch, 'quorum-local.img'), join(scratch, 'quorum-backup.img')];
  for (const path of [local, backup]) makeSparse(path, imageMiB);
  const [pidFile, socket] = [join(scratch, 'quorum-backup.pid'), join(scratch, 'quorum.sock')];
  const port = String(await freePort());
  const far = await startTarget({
    name: 'nbdkit of the backup',
    program: 'nbdkit',
    words: ['-f', '-i', '127.0.0.1', '-p', port, '-P', pidFile, 'file', backup],
    socket: '',
    readyFile: pidFile,
  });
  const nodes = [
    `driver=file,node-name=a,filename=${local}`,
    `driver=nbd,node-name=b,server.type=inet,server.host=127.0.0.1,server.port=${port}`,
    'driver=quorum,node-name=q,vote-threshold=2,children.0=a,children.1=b',
  ];
  const near = await startTarget({
    name: 'qemu quorum',
    program: 'qemu-storage-daemon',
    words: [
      ...nodes.flatMap((node) => ['--blockdev', node]),
      ...['--nbd-server', `addr.type=unix,addr.path=${socket}`],
      ...['--export', 'type=nbd,id=e,node-name=q,name=q,writable=on'],
    ],
    socket,
    exportName: 'q',
  });
  const stop = (): Promise<void> => stopAll([near, far]);
  return { name: near.name, uri: near.uri, stop };
}

export async function measureRates(options: RateOptions): Promise<Row[]> {
  const running: Target[] = [];
  try {
    const rows = await prepare(options, running);
    const results: Row[] = [];
    for (const row of rows) {
      if (row.work.name.includes(options.only)) results.push(await measureRow(row, options));
    }
    return results;
  } finally {
    await stopAll(running.reverse());
  }
}

async function prepare(options: RateOptions, running: Target[]): Promise<RateRow[]> {
  const { scratch, imageMiB } = options;
  const rig = async (name: string, parts: readonly ('local' | 'backup')[], place = scratch): Promise<Rig> => {
    const made = new Rig({ name, folder: join(place, name.replaceAll(' ', '-')), imageMiB, parts });
    running.push(made);
    await made.start();
    return made;
  };
  const mirror = await rig('mirror', ['local', 'backup']);
  const cached = await rig('mirror on a disk', ['local', 'backup'], options.diskScratch);
  const localOnly = await rig('local only', ['local']);
  const backupOnly = await rig('backup only', ['backup']);
  const quorum = await startQuorum(scratch, imageMiB);
  running.push(quorum);
  const socket = join(scratch, 'nbdkit.sock');
  const words = ['-f', '-r', '-U', socket, 'file', cached.local];
  const nbdkit = await startTarget({ name: 'nbdkit file', program: 'nbdkit', words, socket });
  running.push(nbdkit);
  // Every region has data before anything is measured.
  for (const { uri } of [mirror, cached, localOnly, backupOnly, quorum]) {
    const fill: FioWork = { name: 'fill', rw: 'write', blockBytes: 1_048_576, depth: 4 };
    await runFio(fill, { uri, imageMiB: imageMiB - 8, seconds: 3, scratch });
  }
  return rowsOf({ mirror, cached, localOnly, backupOnly, quorum, nbdkit });
}

type Targets = Readonly<
  Record<'mirror' | 'cached' | 'localOnly' | 'backupOnly' | 'quorum' | 'nbdkit', Target>
>;

function rowsOf({ mirror, cached, localOnly, backupOnly, quorum, nbdkit }: Targets): RateRow[] {
  const first = (medians: readonly number[]): number => (medians[0] ?? 0) / (medians[1] ?? Infinity);
  const toQuorum = {
    targets: [
      ['mirror', mirror],
      ['quorum', quorum],
    ] as const,
    reference: 'qemu quorum',
  };
  return [
    {
      work: { ...small, name: 'mirrored writes, 32 deep', rw: 'randwrite', depth: 32 },
      ...toQuorum,
      target: 5,
      ratio: first,
    },
    {
      work: { ...small, name: 'mirrored writes, 1 deep', rw: 'randwrite', depth: 1 },
      ...toQuorum,
      target: 1.2,
      ratio: first,
    },
    {
      work: { ...small, name: 'prefer-local reads, 32 deep', rw: 'randread', depth: 32 },
      targets: [
        ['mirror', cached],
        ['nbdkit', nbdkit],
      ],
      reference: 'nbdkit file',
      target: 0.9,
      ratio: first,
    },
    {
      work: {
        name: '128 KiB sequential mirrored writes, 8 deep',
        rw: 'write',
        blockBytes: 131_072,
        depth: 8,
      },
      targets: [
        ['mirror', mirror],
        ['local only', localOnly],
        ['backup only', backupOnly],
      ],
      reference: 'the slower path alone',
      target: 0.6,
      ratio: ([ours = 0, local = Infinity, backup = Infinity]) => ours / Math.min(local, backup),
    },
  ];
}

async function measureRow(row: RateRow, options: RateOptions): Promise<Row> {
  const { scratch, imageMiB, seconds, rounds } = options;
  const rates = row.targets.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < row.targets.length; turn++) {
      // Another one goes first in every round.
      const index = (turn + round) % row.targets.length;
      const target = row.targets[index];
      if (target === undefined) continue;
      // Mirrors keep a few MiB at the end for themselves.
      const where = { uri: target[1].uri, imageMiB: imageMiB - 8, seconds, scratch };
      rates[index]?.push(await runFio(row.work, where));
    }
  }
  const medians = rates.map((each) => median(each) ?? 0);
  const ratio = row.ratio(medians);
  const told = row.targets.map(([name], index) => `${name} ${Math.round(medians[index] ?? 0)}`);
  process.stderr.write(`${row.work.name}: ${told.join(', ')}\n`);
  return {
    name: row.work.name,
    ours: `${Math.round(medians[0] ?? 0).toLocaleString('en')} ops/s`,
    reference: `${row.reference} (${medians
      .slice(1)
      .map((rate) => Math.round(rate).toLocaleString('en'))
      .join(', ')})`,
    ratio,
    target: row.target,
    isMet: ratio >= row.target,
  };
}
