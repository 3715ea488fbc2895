import type { RandomSource } from '../../device/random.js';
import { assert } from '../../protocol/errors.js';
import { compareFreshness } from '../../protocol/gmirror-checks.js';
import { displayText, type DecodedLabel } from '../../protocol/gmirror-label.js';
import { NO_UUID, type Uuid } from '../../protocol/superblock.js';
import { Assembly } from './assembly.js';
import { makeAreas } from './adopt.js';
import { AssembleError, type AssembleOptions, type AssembledMirror, type StartPlan } from './assembled.js';
import type { Component, ComponentIdentity } from '../component.js';
import type { AssemblyDecision } from '../decide/assembly-decision.js';
import { newUuid } from '../ids.js';
import type { JournalState } from '../journal/journal.js';
import { componentIn, loadMarks, providerIn, type RunDecision } from './load-marks.js';
import { finishResize, isHalfResized } from './finish-resize.js';
import { Membership } from '../members/membership.js';
import { Mirror } from '../mirror.js';
import { renewDoubtful } from './renew-doubtful.js';
import { settleStart } from './split-brain.js';
import type { FoundProvider, PresentProvider } from './assembly.js';
import { doubtOf, warnOfSource } from './warnings.js';

export type { AssembleOptions, AssembledMirror, OpenedProvider, ProviderOpener } from './assembled.js';
export { AssembleError } from './assembled.js';

/**
 * Starts a mirror from its providers: decides who is copied to whom, writes that down, and starts the resyncs. Rejects
 * with AssembleError or DeviceError; everything is closed again then, and unless the error came from writing, nothing was
 * written.
 */
export async function assemble(options: AssembleOptions): Promise<AssembledMirror> {
  const assembly = await openReady(options);
  try {
    const found = presentOf(assembly, options);
    const input = {
      present: found.map(({ facts }) => facts),
      isDegradedAllowed: options.degraded,
      isMissingUsed: assembly.providers.some((one) => one.state === 'failed' && one.isUsed),
      isMixtureAllowed: options.allowsMixture === true,
      ...chosenOf(found, options),
    };
    const { decision, discarded } = await settleStart(found, input, options);
    if (decision.outcome === 'refuse') {
      const { code, isAfterCrash } = decision;
      throw new AssembleError(code, explain(decision, assembly), undefined, isAfterCrash);
    }
    const source = found.find(({ facts }) => facts.superblock.slot === decision.source);
    assert(source !== undefined, `${options.name}: a source that is not there`);
    const mirror = makeMirror(options, assembly, found, source, decision);
    try {
      await loadMarks(mirror, found, source, decision);
      await options.approve?.(planOf(mirror, decision));
      giveUp(mirror, discarded, options);
      tellMissing(mirror, assembly);
      await launch(mirror, found, decision, options);
      await assembly.closeBare();
    } catch (error) {
      await mirror.close().catch(() => undefined /* the error that is thrown tells more */);
      throw error;
    }
    return {
      mirror,
      members: new Membership(mirror, assembly),
      reopen: (component) => assembly.reopen(component, (label) => learn(mirror, component, label)),
      look: (component) => assembly.look(component),
      openers: () => assembly.openers,
      close: () => mirror.close(),
    };
  } catch (error) {
    await assembly.close();
    throw error;
  }
}

/** Components that have no private area get one, where that is what the administrator asked for. */
async function openReady(options: AssembleOptions): Promise<Assembly> {
  const assembly = await openWhole(options);
  try {
    if (!(await makeAreas(assembly.providers, options))) return assembly;
  } catch (error) {
    await assembly.close();
    throw error;
  }
  await assembly.close();
  return await Assembly.open(options.providers);
}

/** A resize that was interrupted on its last steps is finished. */
async function openWhole({ providers }: AssembleOptions): Promise<Assembly> {
  const assembly = await Assembly.open(providers);
  if (!isHalfResized(assembly.providers.filter((found) => found.state === 'ok'))) return assembly;
  await assembly.close();
  await finishResize(providers);
  return await Assembly.open(providers);
}

function chosenOf(
  found: readonly PresentProvider[],
  { source = null }: AssembleOptions,
): { readonly preferredSource?: number } {
  if (source === null) return {};
  const chosen = found.find(({ name }) => name === source);
  if (chosen !== undefined) return { preferredSource: chosen.facts.superblock.slot };
  throw new AssembleError(
    'ASSEMBLE_NO_SOURCE',
    `${source} is not there, or no component that could be the source`,
  );
}

/** Those that are components; throws where a provider is none, or one that can't be left out. */
function presentOf(assembly: Assembly, options: AssembleOptions): readonly PresentProvider[] {
  const present: PresentProvider[] = [];
  // One that only lacks its area may do so because of another's trouble, which says more.
  const isBare = ({ state }: FoundProvider): number => Number(state === 'bare');
  for (const found of [...assembly.providers].sort((one, other) => isBare(one) - isBare(other))) {
    if (found.state === 'ok') {
      const { name } = found.facts.superblock;
      if (name !== options.name) {
        const message = `${found.name} is a component of mirror '${displayText(name)}', not of '${options.name}'`;
        throw new AssembleError('ASSEMBLE_FOREIGN', message);
      }
      present.push(found);
    } else if (found.state === 'none' || (found.state !== 'failed' && !options.degraded)) {
      const way = wayOut(found, assembly, options.name);
      throw new AssembleError('ASSEMBLE_FOREIGN', `${found.name} ${found.why}; ${way}`);
    }
  }
  if (present.length > 0) return present;
  const why = reasonsOf(assembly.providers);
  throw new AssembleError(
    'ASSEMBLE_MISSING',
    `mirror '${options.name}' has no component that is there${why}`,
  );
}

const CHECK_PLACE =
  "check its name and its size; for one that was made larger, 'ggmirror resize' comes first";

/** Of a component that can't be believed. */
function wayOut({ name, state }: FoundProvider, { providers }: Assembly, mirror: string): string {
  const other = providers.find((one) => one.state === 'ok');
  const anew = `take it in anew with 'ggmirror forget ${mirror}' and 'ggmirror insert --force ${mirror} ${name}'`;
  if (state === 'none')
    return other === undefined
      ? CHECK_PLACE
      : `${CHECK_PLACE}; if its label is lost, start with '--degraded' and without naming it, then ${anew}`;
  if (other === undefined) {
    return state === 'bare' ? `name a file for it: '${name},area=FILE'` : 'start the mirror without it';
  }
  const degraded = "start the mirror without it, with '--degraded'";
  return state === 'bare'
    ? `${degraded}, or copy everything from ${other.name} to it with '--source ${other.name}'`
    : `${degraded}, then ${anew}`;
}

const reasonsOf = (providers: readonly FoundProvider[]): string => {
  const reasons = providers.flatMap((found) =>
    found.state === 'ok' ? [] : [found.state === 'failed' ? found.why : `${found.name} ${found.why}`],
  );
  return reasons.length === 0 ? '' : `: ${reasons.join('; ')}`;
};

const explain = (
  { code, message }: Extract<AssemblyDecision, { outcome: 'refuse' }>,
  { providers }: Assembly,
): string => (code === 'ASSEMBLE_MISSING' ? `${message}${reasonsOf(providers)}` : message);

function makeMirror(
  options: AssembleOptions,
  assembly: Assembly,
  found: readonly PresentProvider[],
  source: PresentProvider,
  decision: RunDecision,
): Mirror {
  const { superblock } = source.facts;
  const identities = superblock.slots.flatMap(({ componentUuid: uuid }, slot): ComponentIdentity[] => {
    if (uuid === NO_UUID) return [];
    return [{ uuid, slot, ...assembly.claim(slot) }];
  });
  const { balance, sliceBytes: labelledSliceBytes, mirrorFlags } = source.label;
  const { noAutoSync, noFailSync } = mirrorFlags;
  const { sliceBytes = labelledSliceBytes } = options;
  return new Mirror({
    ...options,
    uuid: superblock.mirrorUuid,
    mediaSizeBytes: superblock.mediaSizeBytes,
    sectorSizeBytes: superblock.sectorSizeBytes,
    components: identities,
    journal: journalOf(found, source, decision, options.random),
    sliceBytes,
    settings: { balance, sliceBytes: labelledSliceBytes, noAutoSync, noFailSync },
  });
}

function journalOf(
  found: readonly PresentProvider[],
  { facts }: PresentProvider,
  { lostAt, missing, isMixture }: RunDecision,
  random: RandomSource,
): JournalState {
  const { current, history } = facts.superblock;
  // No label that is there may look newer than the source's, to us or to the kernel.
  const { genid, syncid } = found
    .flatMap(({ facts: { superblock }, label }) => [superblock, label])
    .reduce((newest, one) => (compareFreshness(one, newest) > 0 ? one : newest));
  return {
    ...(isMixture ? unknownGeneration(lostAt, random) : { current, history, lostAt }),
    unheard: missing.filter(({ isUnheard }) => isUnheard).map(({ slot }) => slot),
    genid,
    syncid,
  };
}

/** The data is of no generation of the others', so each of them is a stranger when it comes. */
function unknownGeneration(
  lostAt: readonly Uuid[],
  random: RandomSource,
): Pick<JournalState, 'current' | 'history' | 'lostAt'> {
  const current = newUuid(random);
  return { current, history: [], lostAt: lostAt.map((at) => (at === NO_UUID ? at : current)) };
}

function planOf(mirror: Mirror, { source, active, behind }: RunDecision): StartPlan {
  const inStep = [source, ...active.filter((slot) => slot !== source)];
  const doubt = doubtOf(componentIn(mirror, source));
  return {
    doubt: doubt === null ? null : `${componentIn(mirror, source).name} ${doubt}`,
    kept: inStep.map((slot) => componentIn(mirror, slot).name),
    overwritten: behind.map(({ slot }) => {
      const { name, missing } = componentIn(mirror, slot);
      return { name, copyBytes: missing.markedBytes };
    }),
  };
}

function giveUp(
  mirror: Mirror,
  discarded: readonly number[],
  { afterSplitBrain = 'disconnect', discard = [], events }: AssembleOptions,
): void {
  const why = `as ${discard.length > 0 ? 'a person' : afterSplitBrain} has it`;
  for (const slot of discarded) events.changed('discarded', componentIn(mirror, slot), why);
}

async function launch(
  mirror: Mirror,
  found: readonly PresentProvider[],
  decision: RunDecision,
  { waitsForResyncs: waits = true }: AssembleOptions,
): Promise<void> {
  for (const { facts, media, label } of found) {
    const component = componentIn(mirror, facts.superblock.slot);
    component.settings = { hardcodedProvider: label.hardcodedProvider };
    if (decision.inactive.includes(facts.superblock.slot)) await media.close();
  }
  for (const slot of decision.inactive) componentIn(mirror, slot).isInactive = true;
  for (const slot of decision.active)
    mirror.attachActive(componentIn(mirror, slot), providerIn(found, slot).media);
  await mirror.journal.begin({ isOutside: decision.beginsGeneration });
  warnOfSource(mirror, componentIn(mirror, decision.source), decision.isMixture);
  await renewDoubtful(mirror, componentIn(mirror, decision.source));
  const full = mirror.components.filter(({ isFull }) => isFull);
  if (full.length > 0) {
    // All their bits are on stable storage now, and from here on tell how far the copy has come.
    for (const component of full) component.isFull = false;
    await mirror.journal.begin({ isOutside: false });
  }
  for (const { slot } of decision.behind) {
    await mirror.returns.admit(componentIn(mirror, slot), providerIn(found, slot).media, { waits });
  }
}

/** Before anybody has tried again: why the mirror begins without them. */
function tellMissing({ components }: Mirror, { providers }: Assembly): void {
  for (const found of providers) {
    const component = components.find(({ name }) => name === found.name);
    if (found.state === 'failed' && component !== undefined) component.trouble = found.why;
  }
}

/** Of a component that was not there at the start, whose label nobody has read yet. */
function learn(mirror: Mirror, component: Component, { priority, hardcodedProvider }: DecodedLabel): void {
  if (component.settings.hardcodedProvider !== undefined) return;
  component.settings = { ...component.settings, hardcodedProvider };
  if (component.identity.isPriorityGuessed === true) mirror.setPriority(component, priority);
}
