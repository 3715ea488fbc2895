import { displayText } from '../../protocol/gmirror-label.js';
import { NO_UUID } from '../../protocol/superblock.js';
import type { BehindComponent, PresentComponent, Refusal } from './assembly-facts.js';

export const foreign = (what: string): Refusal => ({
  outcome: 'refuse',
  code: 'ASSEMBLE_FOREIGN',
  message: `${what}; nothing was changed`,
  split: null,
});

/** `other` is another way out, a clause. */
export const noSource = (components: readonly PresentComponent[], why: string, other = ''): Refusal => ({
  outcome: 'refuse',
  code: 'ASSEMBLE_NO_SOURCE',
  message:
    `no component can be started from: ${components.map(({ name }) => name).join(', ')} ${why}; ` +
    `start the mirror with the component that was the source${other}`,
  split: null,
});

/** Whoever hears of it at night does what it says: to start without one that is in use would make two writers. */
export function missingRefusal(
  source: PresentComponent,
  missing: readonly BehindComponent[],
  isMissingUsed: boolean,
): Refusal {
  const count = source.superblock.slots.filter(({ componentUuid }) => componentUuid !== NO_UUID).length;
  const [are, them] = missing.length === 1 ? ['is', 'it'] : ['are', 'them'];
  const way = isMissingUsed
    ? `first end what uses ${missing.length === 1 ? 'it' : 'one of them'}, which may be the mirror on another machine`
    : `make ${them} reachable, or start without ${them} with '--degraded'`;
  const message = `${missing.length} of ${count} components ${are} missing, and may have newer data; ${way}`;
  const { isRunning, slots } = source.superblock;
  const isAfterCrash = isRunning && missing.some(({ slot }) => slots[slot]?.lostAt === NO_UUID);
  return { outcome: 'refuse', code: 'ASSEMBLE_MISSING', message, split: null, isAfterCrash };
}

/** A person chooses. What is said of each way is exactly what `resolve --discard` does. */
export function splitBrain(one: PresentComponent, other: PresentComponent): Refusal {
  const side = ({ name, touch, superblock }: PresentComponent): string => {
    if (touch === 'label') return `${name} (used by a kernel's gmirror since)`;
    return touch === 'image'
      ? `${name} (its file was written or put back since the last stop)`
      : `${name} (generation ${superblock.current.slice(0, 8)})`;
  };
  const way = (lost: PresentComponent, kept: PresentComponent): string =>
    `'ggmirror resolve ${displayText(one.superblock.name)} --discard ${lost.name}' keeps ${kept.name}`;
  const message =
    `split brain: ${side(one)} and ${side(other)} were written without one another, and all are left alone; ` +
    `look at both, save what you need, and choose: ${way(other, one)}, ${way(one, other)} ` +
    `(name the components there, too, if the configuration file does not)`;
  const split = [one.superblock.slot, other.superblock.slot] as const;
  return { outcome: 'refuse', code: 'ASSEMBLE_SPLIT_BRAIN', message, split };
}
