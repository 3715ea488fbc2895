import { until } from '../support/until.js';
import type { EventLog } from './event-log.js';
import { clearDisk, fillDisk } from './full-disk.js';
import type { MirrorDaemon } from './mirror-daemon.js';
import type { Workload } from './workload.js';

/** How long clients try to find a place that the disk has no room for. */
const BITE_MS = 30_000;
/** What is written while only the backups have it. */
const WRITES = 40;
const PATIENCE_MS = 120_000;

export interface OwnDiskOptions {
  readonly mirror: MirrorDaemon;
  readonly log: EventLog;
  readonly problem: () => string | null;
}

/**
 * The mirror is COMPLETE, and nobody writes. The disk of the primary's own image is full for a while: the mirror goes on
 * with its backups. On a busy machine all of them may have been silent for too long just then; so a request may fail, but it
 * must be true. Resolves when nobody writes any more, and there is room again.
 */
export async function fillOwnDisk(workload: Workload, options: OwnDiskOptions): Promise<void> {
  const { mirror, log, problem } = options;
  const isLost = async (): Promise<boolean> => {
    const broken = problem();
    if (broken !== null) throw new Error(broken);
    const { components } = await mirror.status();
    return components.some(({ name, state }) => name === mirror.local && state === 'DISCONNECTED');
  };
  log.note('own disk full');
  fillDisk(mirror.local);
  try {
    workload.start({ mayFail: true });
    const hasBitten = await until('the disk to be missed', isLost, BITE_MS).then(
      () => true,
      () => false,
    );
    if (hasBitten) {
      const enough = workload.counts.writes + workload.counts.failed + WRITES;
      const areEnough = (): boolean => workload.counts.writes + workload.counts.failed >= enough;
      await until('a mirror of backups to be written', () => problem() !== null || areEnough(), PATIENCE_MS);
      log.count('own disk full');
    }
    await workload.stop();
  } finally {
    clearDisk(mirror.local);
  }
  log.note('over: own disk full');
}
