import type { Chance } from '../chance.js';
import type { PlannedStep, Restart, Step } from '../steps.js';

const KINDS = [
  ...(['kill', 'power', 'power', 'server', 'server', 'cut', 'cut', 'stall', 'stall'] as const),
  ...(['hang', 'slow', 'fail'] as const),
];
type Kind = (typeof KINDS)[number] | 'failed-flush';
const isKind = (one: string): one is Kind => one === 'failed-flush' || KINDS.some((kind) => kind === one);

/** Trouble for a client and the server that it uses: closer together than a mirror's, for there is nothing to resync. */
export function aloneFaults(chance: Chance, runMs: number, only?: readonly string[]): PlannedStep[] {
  const kinds = only?.filter(isKind) ?? KINDS.filter(() => chance.happens(0.5));
  const steps: PlannedStep[] = [];
  const meanGapMs = chance.pick([700, 2000, 5000]);
  if (kinds.length === 0) return steps;
  for (let atMs = chance.delayMs(meanGapMs); atMs < runMs; atMs += chance.delayMs(meanGapMs))
    steps.push({ atMs, step: faultOf(chance, chance.pick(kinds)) });
  return steps;
}

function faultOf(chance: Chance, kind: Kind): Step {
  const forMs = chance.pick([20, 200, 1500, 6000]) * (0.5 + chance.part());
  const restart: Restart = { host: 0, afterMs: chance.delayMs(chance.pick([5, 500])), patienceMs: 0 };
  // The server's host is the second one.
  const host = chance.happens(0.8) ? 1 : 0;
  const from = chance.below(2);
  switch (kind) {
    case 'kill':
      return { kind, restart };
    case 'power':
      return { kind, host, offMs: forMs, restart };
    case 'server':
      return { kind, host: 1 };
    case 'cut':
      return { kind, host: from, other: 1 - from, forMs, isOneWay: chance.happens(0.4) };
    case 'stall':
      return { kind, host: from, other: 1 - from, forMs };
    case 'hang':
      return { kind, host: 1, forMs };
    case 'slow':
      return { kind, host: 1, latencyMs: chance.pick([3, 30, 200]), forMs };
    case 'failed-flush':
      return { kind: 'fail', host: 1, op: 'flush', count: chance.pick([1, 3]) };
    case 'fail':
      return {
        kind,
        host: 1,
        op: chance.pick(['read', 'write', 'flush'] as const),
        count: chance.pick([1, 3]),
      };
  }
}
