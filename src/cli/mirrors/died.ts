import { attachedText } from '../attach/attachment.js';
import { CommandError } from '../errors.js';
import { attachmentsOf } from './attached.js';
import type { RunDirFlags } from './run-dir.js';

/** What is left of a mirror whose process was killed, for people: without that nothing would show it any more. */
export async function diedText(name: string, { runDir }: RunDirFlags): Promise<string> {
  const attachment = await attachmentsOf(name, runDir).find(null);
  const device = attachment === null ? '' : `; it ${attachedText(attachment)} ('ggmirror detach ${name}')`;
  return `mirror/${name} has died; 'ggmirror start' runs it again${device}`;
}

/** Throws CommandError if there is one. */
export async function requireNoneDied(names: readonly string[], flags: RunDirFlags): Promise<void> {
  const texts = await Promise.all(names.map((name) => diedText(name, flags)));
  if (texts.length > 0) throw new CommandError(texts.join('\nggmirror: '));
}
