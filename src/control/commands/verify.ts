import { ProtocolError } from '../../protocol/errors.js';
import { ControlError } from '../control-error.js';
import type { RunningMirror } from '../running-mirror.js';
import { verifyStatusOf, type VerifyStatus } from '../verify-status.js';
import { flagField, textField, type ControlCommand } from './command.js';

interface VerifyRequest {
  /** 'plan' begins nothing: its answer is a VerifyPlan. That to the others is a VerifyStatus. */
  readonly action: 'plan' | 'start' | 'stop';
  /** Copy from the source what differs. */
  readonly isRepairing: boolean;
  /** Go on with the one that was stopped. */
  readonly isResumed: boolean;
}

/** Who would be compared with whom. */
export interface VerifyPlan {
  readonly source: string;
  readonly others: readonly string[];
}

/** Components are compared with each other while the mirror is in use; how far it is, status tells. */
export const verifyCommand: ControlCommand<VerifyRequest> = {
  parse(fields) {
    const action = textField(fields, 'action');
    if (action !== 'plan' && action !== 'start' && action !== 'stop') {
      throw new ProtocolError('PROTOCOL_FORMAT', 'the control request has no known action');
    }
    return {
      action,
      isRepairing: flagField(fields, 'isRepairing'),
      isResumed: flagField(fields, 'isResumed'),
    };
  },
  async run(running, request) {
    if (request.action === 'stop') return await stop(running);
    requireComparable(running);
    return request.action === 'plan' ? planOf(running) : start(running, request);
  },
};

async function stop({ name, mirror }: RunningMirror): Promise<VerifyStatus> {
  const { verification } = mirror;
  if (verification?.state !== 'running') throw new ControlError(`mirror/${name} is not being verified`);
  await verification.stop();
  return verifyStatusOf(verification);
}

function requireComparable({ name, mirror }: RunningMirror): void {
  const { verification, active } = mirror;
  if (verification?.state === 'running') throw new ControlError(`mirror/${name} is being verified already`);
  if (active.length < 2) {
    const [only] = active;
    throw new ControlError(
      `mirror/${name} has nothing to be compared: only ${only?.name ?? 'nobody'} is in step`,
    );
  }
}

function planOf({ mirror }: RunningMirror): VerifyPlan {
  const source = mirror.reads.preferred;
  const others = mirror.active.filter((component) => component !== source);
  return { source: source.name, others: others.map((component) => component.name) };
}

function start({ name, mirror }: RunningMirror, { isRepairing, isResumed }: VerifyRequest): VerifyStatus {
  const last = mirror.verification;
  if (isResumed && (last === null || last.state === 'complete')) {
    throw new ControlError(`mirror/${name} has no verify that was stopped before its end`);
  }
  const previous = isResumed ? last : null;
  return verifyStatusOf(mirror.startVerify({ isRepairing, previous }));
}
