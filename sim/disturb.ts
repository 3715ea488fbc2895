import type { Cluster } from './cluster.js';
import type { Step } from './steps.js';
import type { World } from './world.js';

type Disturbance = Extract<Step, { kind: 'cut' | 'stall' | 'hang' | 'slow' | 'fail' | 'bad' }>;

/** Something does not work for a while. */
export function disturb(step: Disturbance, world: World, cluster: Cluster): void {
  const host = cluster.host(step.host);
  const { disk, conduct } = host.drive;
  if (step.kind === 'cut' || step.kind === 'stall') {
    const link = cluster.link(host, cluster.host(step.other));
    if (link === null) return;
    if (step.kind === 'cut') link.cut(step.isOneWay === true ? host.name : null);
    else link.stall(host.name);
    world.after(step.forMs, () => link.heal());
  } else if (step.kind === 'hang') conduct.hungUntilMs = world.nowMs + step.forMs;
  else if (step.kind === 'slow') {
    conduct.latencyMs = step.latencyMs;
    world.after(step.forMs, () => (conduct.latencyMs = 0.3));
  } else if (step.kind === 'fail') conduct.failing[step.op] = step.count;
  else disk.bad.add(step.sector);
}
