import type { BalanceAlgorithm } from '../src/mirror/balance.js';
import { EXTENT_SIZE_BYTES } from '../src/protocol/area-layout.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';
import { Chance } from './chance.js';
import { SECTOR_BYTES } from './disk.js';
import { aloneFaults } from './links/faults.js';
import type { ClientOp, MemberCommand, PlannedStep, Restart, Step } from './steps.js';

/** What the mirror's daemon is started with. */
export interface MirrorSettings {
  readonly balance: BalanceAlgorithm;
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly extentsMax: number;
  readonly resyncBytesPerSecond: number;
}

/**
 * How remote components are reached: over a queue of messages, or by the real client and the real server over simulated
 * connections. Alone: there is no mirror, and a client uses the disk of another host.
 */
export const WIRES = ['queue', 'sessions', 'alone'] as const;
export type WireKind = (typeof WIRES)[number];

/** Everything that a run is made of besides the seed of the small chances: delays, torn writes, what a crash keeps. */
export interface Plan {
  readonly seed: number;
  readonly wire: WireKind;
  readonly componentCount: number;
  readonly diskSizeBytes: number;
  readonly settings: MirrorSettings;
  readonly steps: readonly PlannedStep[];
  /** Index of a host whose server can't flush, as that of a plain ggated; left out if there is none. */
  readonly plainHost?: number;
  /** Of the flushes of disks, so many are looked at. */
  readonly lookPart: number;
  /** Nothing in it is a reason to give a component up. */
  readonly isPeaceful?: boolean;
}

const MIB = 1_048_576;
const LOOK_AT_FLUSH_PART = 0.03;
/** Of a life that is all about some kinds of trouble. */
const LOOK_CLOSELY_PART = 0.25;
const BALANCES: readonly BalanceAlgorithm[] = ['prefer', 'round-robin', 'load', 'split', 'prefer-local'];
const MEMBER_COMMANDS: readonly MemberCommand[] = [
  ...(['insert', 'insert', 'remove', 'forget', 'activate', 'activate', 'deactivate'] as const),
];
type FaultKind = Exclude<Step['kind'], 'io' | 'look' | 'members' | 'verify' | 'misdirect' | 'jump' | 'doom'>;
const FAULTS: readonly FaultKind[] = [
  ...(['kill', 'stop', 'power', 'power', 'blackout', 'server', 'cut', 'cut', 'stall'] as const),
  ...(['hang', 'slow', 'fail', 'bad', 'rebuild'] as const),
];

/** Kinds of trouble that a life can be all about; a failed write or flush is one of what a disk can fail. */
export const TROUBLES = [...new Set(FAULTS), 'failed-write', 'failed-flush', 'doom'] as const;
export type Trouble = (typeof TROUBLES)[number];

/** What lives have only where that is asked for. */
export interface Extras {
  /** All of these kinds of trouble, again and again, and no other; nobody is at work, and nothing is misdirected. */
  readonly only?: readonly Trouble[];
  /** One host's server can't flush. */
  readonly plain?: boolean;
  /** Clocks jump. */
  readonly jumps?: boolean;
}

/** The plan of a seed, for components that are reached in this way. */
export function planOf(seed: number, wire: WireKind = 'queue', { plain, jumps, only }: Extras = {}): Plan {
  const chance = new Chance(seed).fork('plan');
  const componentCount = wire !== 'alone' && chance.happens(0.3) ? 3 : 2;
  const dataMiB = chance.pick([12, 16, 24]);
  const settings: MirrorSettings = {
    balance: chance.pick(BALANCES),
    timeoutMs: chance.pick([1500, 3000, 10_000]),
    idleMs: chance.pick([300, 1000, 5000]),
    extentsMax: chance.between(2, 4),
    resyncBytesPerSecond: chance.happens(0.3) ? chance.pick([4 * MIB, MIB / 2]) : 0,
  };
  const diskSizeBytes = dataMiB * MIB + 160 * 1024;
  const mediaSectors = (dataMiB * MIB) / SECTOR_BYTES;
  const steps = [
    ...clientSteps(chance.fork('client'), mediaSectors),
    ...(wire === 'alone'
      ? [
          ...aloneFaults(chance.fork('alone'), RUN_MS, only),
          ...(only === undefined ? doomedFlushes(chance.fork('doomed'), 0) : []),
        ]
      : [
          ...faultSteps(chance.fork('faults'), componentCount, mediaSectors, only),
          ...(only === undefined ? operatorSteps(chance.fork('operator'), componentCount) : []),
          ...(only === undefined ? misdirectedReads(chance.fork('misdirected'), componentCount) : []),
          ...(only === undefined ? doomedFlushes(chance.fork('doomed'), componentCount) : []),
          ...(jumps === true ? jumpingClocks(chance.fork('jumps'), componentCount) : []),
        ]),
  ];
  steps.sort((one, other) => one.atMs - other.atMs);
  const oneWay = chance.fork('one way');
  const ofWire = wire !== 'sessions' ? steps : steps.map((planned) => withOneWay(planned, oneWay));
  // At home the mirror has its disk without a server.
  const plainHost = chance.fork('plain').between(1, componentCount - 1);
  const lookPart = only === undefined ? LOOK_AT_FLUSH_PART : LOOK_CLOSELY_PART;
  const base = { lookPart, seed, wire, componentCount, diskSizeBytes, settings, steps: ofWire };
  return plain === true && wire !== 'alone' ? { ...base, plainHost } : base;
}

/** Of the cuts some lose only what one side sends. */
function withOneWay(planned: PlannedStep, chance: Chance): PlannedStep {
  const { step } = planned;
  if (step.kind !== 'cut') return planned;
  return { ...planned, step: { ...step, isOneWay: chance.happens(0.4) } };
}

const RUN_MS = 60_000;

/** Bursts of requests on a few places, so that they overlap, with pauses in which the mirror settles. */
function clientSteps(chance: Chance, mediaSectors: number): PlannedStep[] {
  const places = Array.from({ length: chance.between(3, 14) }, () => placeOf(chance, mediaSectors));
  const flushPart = chance.pick([0.02, 0.08, 0.3]);
  const readPart = chance.pick([0.1, 0.3, 0.5]);
  const sectorsMax = chance.pick([8, 64, 300]);
  const burstGapMs = chance.pick([1, 5, 40]);
  const steps: PlannedStep[] = [];
  const opOf = (): ClientOp => {
    if (chance.happens(flushPart)) return 'flush';
    if (chance.happens(readPart)) return 'read';
    return chance.happens(0.9) ? 'write' : chance.pick(['trim', 'write-zeroes'] as const);
  };
  for (let atMs = 200; atMs < RUN_MS; atMs += chance.delayMs(chance.pick([100, 1500, 4000]))) {
    for (let left = chance.between(1, 24); left > 0; left--) {
      atMs += chance.delayMs(burstGapMs);
      const op = opOf();
      if (op === 'flush') {
        steps.push({ atMs, step: { kind: 'io', op, firstSector: 0, sectorCount: 0 } });
        continue;
      }
      const place = chance.pick(places);
      const firstSector = Math.min(mediaSectors - 1, place + chance.below(sectorsMax));
      const sectorCount = Math.min(mediaSectors - firstSector, chance.between(1, sectorsMax));
      steps.push({ atMs, step: { kind: 'io', op, firstSector, sectorCount } });
    }
  }
  return steps;
}

/** Often where a region or an extent ends, for there things go wrong. */
function placeOf(chance: Chance, mediaSectors: number): number {
  const unitSectors =
    chance.pick([1, REGION_SIZE_BYTES, REGION_SIZE_BYTES, EXTENT_SIZE_BYTES]) / SECTOR_BYTES;
  const place = chance.below(mediaSectors);
  if (unitSectors < 1) return place;
  return Math.max(0, Math.ceil(place / unitSectors) * unitSectors - chance.below(64)) % mediaSectors;
}

function faultSteps(
  chance: Chance,
  hostCount: number,
  mediaSectors: number,
  only?: readonly Trouble[],
): PlannedStep[] {
  // A run has a few kinds of trouble, or each would hide the others.
  const kinds = only ?? FAULTS.filter(() => chance.happens(0.45));
  const steps: PlannedStep[] = [];
  const meanGapMs = chance.pick(only === undefined ? [2500, 6000, 15_000] : [700, 1500, 4000]);
  for (let atMs = chance.delayMs(meanGapMs); atMs < RUN_MS; atMs += chance.delayMs(meanGapMs)) {
    steps.push({ atMs, step: { kind: 'look' } });
    if (kinds.length > 0)
      steps.push({ atMs, step: faultOf(chance, chance.pick(kinds), hostCount, mediaSectors) });
  }
  return steps;
}

/** In some lives an operator is at work. Whatever makes no sense at the moment is refused. */
function operatorSteps(chance: Chance, hostCount: number): PlannedStep[] {
  const steps: PlannedStep[] = [];
  if (!chance.happens(0.35)) return steps;
  const meanGapMs = chance.pick([1500, 4000, 10_000]);
  for (let atMs = chance.delayMs(meanGapMs); atMs < RUN_MS; atMs += chance.delayMs(meanGapMs)) {
    const host = chance.below(hostCount);
    const step: Step = chance.happens(0.2)
      ? { kind: 'verify', isRepairing: chance.happens(0.5) }
      : { kind: 'members', what: chance.pick(MEMBER_COMMANDS), host };
    steps.push({ atMs, step });
  }
  return steps;
}

/** In some lives. Areas are read when a mirror starts and when a component comes, so most of it is for the next time. */
function misdirectedReads(chance: Chance, hostCount: number): PlannedStep[] {
  const steps: PlannedStep[] = [];
  if (!chance.happens(0.3)) return steps;
  for (let atMs = chance.delayMs(6000); atMs < RUN_MS; atMs += chance.delayMs(6000))
    steps.push({
      atMs,
      step: { kind: 'misdirect', host: chance.below(hostCount), which: chance.below(100) },
    });
  return steps;
}

/** In some lives. Without hosts of a mirror they are the server's. */
function doomedFlushes(chance: Chance, hostCount: number): PlannedStep[] {
  const steps: PlannedStep[] = [];
  if (!chance.happens(0.3)) return steps;
  for (let atMs = chance.delayMs(10_000); atMs < RUN_MS; atMs += chance.delayMs(10_000)) {
    const host = hostCount === 0 ? 1 : chance.below(hostCount);
    steps.push({ atMs, step: doomOf(chance, host, restartOf(chance, Math.max(1, hostCount))) });
  }
  return steps;
}

function doomOf(chance: Chance, host: number, restart: Restart): Step {
  return { kind: 'doom', host, who: chance.pick(['mirror', 'mirror', 'server'] as const), restart };
}

function jumpingClocks(chance: Chance, hostCount: number): PlannedStep[] {
  const steps: PlannedStep[] = [];
  for (let atMs = chance.delayMs(8000); atMs < RUN_MS; atMs += chance.delayMs(8000)) {
    const byMs = chance.pick([400, 3000, 60_000, 3_600_000]);
    steps.push({ atMs, step: { kind: 'jump', host: chance.below(hostCount), byMs } });
  }
  return steps;
}

function restartOf(chance: Chance, hostCount: number): Restart {
  return {
    host: chance.happens(0.6) ? 0 : chance.below(hostCount),
    afterMs: chance.delayMs(chance.pick([5, 200, 2000])),
    patienceMs: chance.pick([0, 0, 3000, 20_000]),
  };
}

function faultOf(chance: Chance, kind: Trouble, hostCount: number, mediaSectors: number): Step {
  const host = chance.below(hostCount);
  const other = (host + chance.between(1, hostCount - 1)) % hostCount;
  const forMs = chance.pick([20, 300, 2000, 8000, 20_000]) * (0.5 + chance.part());
  const restart = restartOf(chance, hostCount);
  switch (kind) {
    case 'kill':
    case 'stop':
      return { kind, restart };
    case 'power':
      return { kind, host: chance.happens(0.5) ? 0 : host, offMs: forMs, restart };
    case 'blackout':
      return { kind, offMs: forMs, restart };
    case 'server':
    case 'rebuild':
      return { kind, host };
    case 'cut':
    case 'stall':
      return { kind, host, other, forMs };
    case 'hang':
      return { kind, host, forMs };
    case 'slow':
      return { kind, host, latencyMs: chance.pick([3, 30, 200]), forMs };
    case 'fail':
      return {
        kind,
        host,
        op: chance.pick(['read', 'write', 'flush'] as const),
        count: chance.pick([1, 1, 3, 20]),
      };
    case 'failed-write':
    case 'failed-flush':
      return {
        kind: 'fail',
        host,
        op: kind === 'failed-write' ? 'write' : 'flush',
        count: chance.pick([1, 1, 3]),
      };
    case 'doom':
      return doomOf(chance, host, restart);
    case 'bad':
      return { kind, host, sector: chance.below(mediaSectors) };
  }
}
