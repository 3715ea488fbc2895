import { spawn } from 'node:child_process';
import { doneWithin, type Clock } from '../device/clock.js';
import type { ServerLog } from '../server/server-log.js';
import { HOOK_CLOSE_MS, HOOK_MS, HOOKS_WAITING_MAX } from './limits.js';

/** What a hook is told of, and when. Named after gmirror's states and hastd's events. */
export const HOOK_EVENTS = {
  started: 'the mirror can be used',
  failed: 'the mirror could not be started',
  stopped: 'the mirror was ended in good order',
  degraded: 'not all components are ACTIVE any more, or not all were at the start',
  complete: 'all components are ACTIVE again',
  disconnected: 'a component was dropped, or has gone',
  stale: 'a component is back and misses writes',
  rebuilding: 'a component is brought up to date',
  rebuilt: 'a component is up to date',
  resized: 'the mirror has become larger while it was in use',
  repaired: 'a range that a component could not read was rewritten from another one',
  'no-flush':
    'no component in step can flush: flushes fail, or with unsafe-flush are answered and kept by nobody',
  flush: 'a component in step can flush again',
  'split-brain': 'components were written without one another; neither side is touched',
  newer:
    'a component has data that the mirror, which was started without it, misses; neither side is touched',
  inserted: 'a provider has become a component; everything is copied to it',
  removed: 'a component was taken out for good',
  forgotten: 'a component that was not there was taken out for good',
  deactivated: 'a component was put out of use',
  activated: 'a component that was out of use is wanted again',
  discarded:
    'what was written to a component alone is given up, as a person or a policy has it, and overwritten',
  foreign:
    'where a component was expected there is one of another mirror, or with another size than the mirror has',
} as const;
export type HookEvent = keyof typeof HOOK_EVENTS;

export interface HookCall {
  readonly event: HookEvent;
  readonly mirror: string;
  /** Null if it does not run. */
  readonly state: 'COMPLETE' | 'DEGRADED' | null;
  /** Null for events of the whole mirror. */
  readonly component: { readonly name: string; readonly state: string } | null;
  readonly reason: string | null;
}

/** A program under way. */
export interface HookProcess {
  /** Resolves with how it ended: null for success, else a few words. Never rejects. */
  readonly ended: Promise<string | null>;
  /** Ends it and what it started, at once. */
  kill(): void;
}

export type StartHook = (
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
) => HookProcess;

export interface HooksOptions {
  readonly start: StartHook;
  readonly clock: Clock;
  readonly log: ServerLog;
}

/**
 * Tells a program of the administrator's what happens. One call at a time, in order, so that the last one that it hears
 * is how things are. Nothing waits for it but the next call; what can't wait any more is left out, the oldest first.
 */
export class Hooks {
  readonly #waiting: HookCall[] = [];
  #running: Promise<void> | null = null;

  constructor(private readonly options: HooksOptions) {}

  tell(call: HookCall): void {
    this.#waiting.push(call);
    if (this.#waiting.length > HOOKS_WAITING_MAX) {
      const left = this.#waiting.shift();
      this.options.log.error({ event: left?.event }, 'the hook is too slow and was not told of an event');
    }
    this.#running ??= this.#runAll();
  }

  /** Gives what is left to tell a few seconds. */
  async close(): Promise<void> {
    if (this.#running !== null) await doneWithin(this.#running, HOOK_CLOSE_MS, this.options.clock);
  }

  async #runAll(): Promise<void> {
    for (let call = this.#waiting.shift(); call !== undefined; call = this.#waiting.shift()) {
      await this.#run(call);
    }
    this.#running = null;
  }

  async #run(call: HookCall): Promise<void> {
    const { start, clock, log } = this.options;
    const { event } = call;
    const hook = start([event, call.mirror, call.component?.name ?? ''], environmentOf(call));
    const late: { isKilled: boolean } = { isKilled: false };
    const timer = clock.after(HOOK_MS, () => {
      late.isKilled = true;
      hook.kill();
    });
    const failure = await hook.ended;
    timer.cancel();
    if (late.isKilled) log.error({ event }, `the hook did not end within ${HOOK_MS / 1000} s and was killed`);
    else if (failure !== null) log.error({ event, reason: failure }, 'the hook failed');
    else log.debug({ event }, 'the hook was called');
  }
}

const environmentOf = ({ event, mirror, state, component, reason }: HookCall): Record<string, string> => ({
  GGMIRROR_EVENT: event,
  GGMIRROR_MIRROR: mirror,
  GGMIRROR_STATE: state ?? '',
  GGMIRROR_COMPONENT: component?.name ?? '',
  GGMIRROR_COMPONENT_STATE: component?.state ?? '',
  // A peer may have had a hand in it.
  GGMIRROR_REASON: (reason ?? '').replace(/\p{Cc}/gu, ' '),
});

/** A program without terminal or standard streams, in a process group of its own, which survives us. */
export function programHook(path: string): StartHook {
  return (words, environment) => {
    const child = spawn(path, words, {
      cwd: '/',
      detached: true,
      stdio: 'ignore',
      env: { ...process.env, ...environment },
    });
    child.unref();
    return {
      ended: new Promise((resolve) => {
        child.once('error', (error) => resolve(error.message));
        child.once('exit', (code, signal) => {
          resolve(code === 0 ? null : signal === null ? `exit status ${code ?? 'unknown'}` : signal);
        });
      }),
      kill() {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      },
    };
  };
}
