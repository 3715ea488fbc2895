import { AssembleError, type AssembleOptions } from './assembled.js';
import type { PresentProvider } from './assembly.js';
import { decideAssembly, type AssemblyDecision, type AssemblyInput } from '../decide/assembly-decision.js';
import { decidePair } from '../decide/pair-table.js';
import { givenUp, type SplitBrainPolicy, type SplitSide } from '../decide/split-brain-policy.js';
import { ownAccount } from '../journal/marks.js';
import type { MetaStore } from '../area/meta-store.js';

/** A start's decision, and the slots of those whose own writes were given up for it. */
export interface SettledStart {
  readonly decision: AssemblyDecision;
  readonly discarded: readonly number[];
}

/**
 * Decides a start, and should there be a split brain, gives up what a person has named, or else what the policy does.
 * Rejects with AssembleError where somebody was named without need, and with DeviceError. Changes nothing.
 */
export async function settleStart(
  found: readonly PresentProvider[],
  input: AssemblyInput,
  { name, discard = [], afterSplitBrain = 'disconnect' }: AssembleOptions,
): Promise<SettledStart> {
  const decision = decideAssembly(input);
  if (discard.length > 0) {
    const discarded = discard.map((one) => slotOf(one, found));
    if (decision.outcome === 'run') {
      throw new AssembleError(
        'ASSEMBLE_NO_SPLIT_BRAIN',
        `mirror '${name}' has no split brain; nothing was changed`,
      );
    }
    return {
      decision: decision.split === null ? decision : decideAssembly({ ...input, discarded }),
      discarded,
    };
  }
  return await settleByPolicy(found, input, decision, afterSplitBrain);
}

async function settleByPolicy(
  found: readonly PresentProvider[],
  input: AssemblyInput,
  first: AssemblyDecision,
  policy: SplitBrainPolicy,
): Promise<SettledStart> {
  const discarded: number[] = [];
  let decision = first;
  while (decision.outcome === 'refuse' && decision.split !== null) {
    const [self, peer] = decision.split.map((slot) => providerIn(slot, found));
    const loser = self === undefined || peer === undefined ? null : await loserOf(policy, self, peer);
    // Who was given up in vain changes nothing: all are left alone.
    if (loser === null || discarded.includes(loser)) return { decision: first, discarded: [] };
    discarded.push(loser);
    decision = decideAssembly({ ...input, discarded });
  }
  return decision.outcome === 'run' ? { decision, discarded } : { decision: first, discarded: [] };
}

async function loserOf(
  policy: SplitBrainPolicy,
  self: PresentProvider,
  peer: PresentProvider,
): Promise<number | null> {
  if (policy === 'disconnect' || decidePair(self.facts, peer.facts).copy !== 'marks') return null;
  const [selfSlot, peerSlot] = [self.facts.superblock.slot, peer.facts.superblock.slot];
  const [one, other] = [await sideOf(self.store, [peerSlot]), await sideOf(peer.store, [selfSlot])];
  const side = givenUp(policy, one, other);
  if (side === null) return null;
  return side === 'self' ? selfSlot : peerSlot;
}

/** What a component did without those of `others`, as it tells itself. Rejects with DeviceError. */
export async function sideOf(store: MetaStore, others: readonly number[]): Promise<SplitSide> {
  const { slots } = store.superblock;
  const { missing } = await ownAccount(store, others);
  const wasStartedAlone = others.some((slot) => slots[slot]?.isUnheard === true);
  return { changedBytes: missing.markedBytes, wasStartedAlone };
}

function slotOf(name: string, found: readonly PresentProvider[]): number {
  const one = found.find((provider) => provider.name === name);
  if (one !== undefined) return one.facts.superblock.slot;
  throw new AssembleError('ASSEMBLE_MISSING', `${name} is not there, or no component; nothing was changed`);
}

const providerIn = (slot: number, found: readonly PresentProvider[]): PresentProvider | undefined =>
  found.find(({ facts }) => facts.superblock.slot === slot);
