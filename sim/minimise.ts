import type { Plan } from './plan.js';
import { simulate } from './simulation.js';

/**
 * A plan with fewer steps that still breaks a promise: leaves out what comes after the failure, then halves, quarters and
 * so on while something fails.
 */
export async function minimise(plan: Plan): Promise<Plan> {
  const { simulatedMs } = await simulate(plan);
  let steps = plan.steps.filter(({ atMs }) => atMs <= simulatedMs);
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < steps.length;) {
      const fewer = [...steps.slice(0, at), ...steps.slice(at + size)];
      const { failure } = await simulate({ ...plan, steps: fewer });
      if (failure === null) at += size;
      else steps = fewer;
    }
  }
  return { ...plan, steps };
}
