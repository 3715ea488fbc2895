import { mirrorPaths } from '../../control/paths.js';
import type { MirrorStatus } from '../../control/status.js';
import type { FoundAttachment } from '../attach/attachment.js';
import { Attachments } from '../attach/attachments.js';
import { thisSystem } from '../attach/system.js';
import type { RunDirFlags } from './run-dir.js';

/** A running mirror, with the block device that was made of it. */
export interface ShownMirror extends MirrorStatus {
  readonly attached?: FoundAttachment | null;
}

/** The daemons don't know what was made of their mirrors. */
export async function withAttachments(
  mirrors: readonly MirrorStatus[],
  { runDir }: RunDirFlags,
): Promise<ShownMirror[]> {
  const shown: ShownMirror[] = [];
  for (const mirror of mirrors) {
    const { name, pid } = mirror;
    shown.push({ ...mirror, attached: await attachmentsOf(name, runDir).find(pid) });
  }
  return shown;
}

export const attachmentsOf = (name: string, runDir: string): Attachments =>
  new Attachments(thisSystem(), name, mirrorPaths(runDir, name));
