import type { Cluster } from './cluster.js';
import { NORMAL_LATENCY_MS } from './disk-handle.js';
import type { Step } from './steps.js';
import type { World } from './world.js';

type Disturbance = Extract<Step, { kind: 'cut' | 'stall' | 'hang' | 'slow' | 'fail' | 'bad' | 'misdirect' }>;

/** Something does not work for a while. */
export function disturb(step: Disturbance, world: World, cluster: Cluster): void {
  const host = cluster.host(step.host);
  const { disk, conduct } = host.drive;
  const span = { fromMs: world.nowMs, untilMs: world.nowMs + ('forMs' in step ? step.forMs : 0) };
  if (step.kind === 'cut' || step.kind === 'stall') {
    const link = cluster.link(host, cluster.host(step.other));
    if (link === null) return;
    if (step.kind === 'cut') link.cut(step.isOneWay === true ? host.name : null);
    else link.stall(host.name);
    world.after(step.forMs, () => link.heal());
  } else if (step.kind === 'hang') conduct.hang(span);
  else if (step.kind === 'slow') {
    conduct.slowDown(span, step.latencyMs);
    world.after(step.forMs, () => (conduct.latencyMs = NORMAL_LATENCY_MS));
  } else if (step.kind === 'fail') conduct.failing[step.op] = step.count;
  else if (step.kind === 'misdirect') conduct.misdirecting = step.which;
  else disk.bad.add(step.sector);
}
