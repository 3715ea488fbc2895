import type { Component } from '../mirror/component.js';
import type { Mirror } from '../mirror/mirror.js';
import { type FlushPromise, flushPromiseOf } from '../mirror/mirror-flush.js';
import type { ServerLog } from '../server/server-log.js';
import type { HookCall, HookEvent, Hooks } from './hooks.js';

interface Announcement {
  readonly level: 'info' | 'warn' | 'error';
  /** What is said of a provider, in the words of the kernel's mirror, for those who watch its log. */
  readonly text: (provider: string) => string;
  readonly hook: HookEvent | null;
}

const say = (
  level: Announcement['level'],
  hook: HookEvent | null,
  text: Announcement['text'],
): Announcement => ({ level, text, hook });

/** By MirrorEvents' names. */
const ANNOUNCEMENTS: Readonly<Record<string, Announcement>> = {
  disconnected: say('warn', 'disconnected', (provider) => `${provider} disconnected.`),
  stale: say('warn', 'stale', (provider) => `${provider} is stale.`),
  rebuilding: say('info', 'rebuilding', (provider) => `rebuilding ${provider}.`),
  rebuilt: say('info', 'rebuilt', (provider) => `rebuilding ${provider} finished.`),
  repaired: say('warn', 'repaired', (provider) => `${provider}: a bad range was rewritten.`),
  'unable to flush': say('warn', null, (provider) => `${provider} can not flush any more.`),
  inserted: say('info', 'inserted', (provider) => `${provider} inserted.`),
  removed: say('info', 'removed', (provider) => `${provider} removed.`),
  forgotten: say('info', 'forgotten', (provider) => `${provider} forgotten.`),
  deactivated: say('info', 'deactivated', (provider) => `${provider} deactivated.`),
  activated: say('info', 'activated', (provider) => `${provider} activated.`),
  'split brain': say(
    'error',
    'split-brain',
    (provider) => `${provider} was written without the others (split brain); neither side is touched.`,
  ),
  newer: say(
    'error',
    'newer',
    (provider) => `${provider} has data that this mirror misses; neither side is touched.`,
  ),
  doubtful: say('error', null, (provider) => `${provider} has failed to flush, and may have lost writes.`),
  mixture: say('error', null, (provider) => `${provider} is inconsistent, and is used all the same.`),
  discarded: say('warn', 'discarded', (provider) => `${provider}: what was written to it alone is given up.`),
  foreign: say('error', 'foreign', (provider) => `${provider} belongs to another mirror; it is not used.`),
  resized: say(
    'error',
    'foreign',
    (provider) => `${provider} has another size than its mirror; it is not used.`,
  ),
};

const FLUSH_TEXTS: Readonly<Record<FlushPromise, string>> = {
  kept: 'a component in step can flush again',
  refused:
    'no component in step can flush, so flushes fail until one can (unsafe-flush: answer them all the same)',
  unsafe: 'no component in step can flush, and flushes are answered all the same, as unsafe-flush has it',
};

export interface AnnouncerOptions {
  /** Of the mirror. */
  readonly name: string;
  readonly log: ServerLog;
  readonly hooks: Hooks | null;
}

/** Says what becomes of a mirror: in the log, and to the administrator's hook. */
export class Announcer {
  #mirror: Mirror | null = null;
  #state: Mirror['state'] = 'COMPLETE';
  #flushes: FlushPromise = 'kept';

  constructor(private readonly options: AnnouncerOptions) {}

  /** For MirrorEvents.changed. */
  changed(what: string, component: Component, why: string | null): void {
    const { name, log } = this.options;
    const fields = why === null ? {} : { reason: why };
    const provider = `provider ${component.name}`;
    const known = Object.hasOwn(ANNOUNCEMENTS, what) ? ANNOUNCEMENTS[what] : undefined;
    const { level, text, hook } = known ?? say('info', null, () => `${provider}: ${what}.`);
    log[level](fields, `Device ${name}: ${text(provider)}`);
    if (hook !== null) this.#tell(hook, component, why);
    this.look(why);
  }

  /** The mirror can be used. */
  launched(mirror: Mirror): void {
    this.#mirror = mirror;
    this.#tell('started', null, null);
    this.look();
  }

  /** It is another object now. */
  replaced(mirror: Mirror): void {
    this.#mirror = mirror;
    this.look();
  }

  resized(): void {
    this.#tell('resized', null, null);
  }

  /** Says if the mirror's state, or what becomes of its flushes, is another one. */
  look(why: string | null = null): void {
    if (this.#mirror !== null) this.#lookAtFlushes(flushPromiseOf(this.#mirror));
    const state = this.#mirror?.state ?? this.#state;
    if (state === this.#state) return;
    this.#state = state;
    this.#tell(state === 'COMPLETE' ? 'complete' : 'degraded', null, why);
  }

  #lookAtFlushes(flushes: FlushPromise): void {
    if (flushes === this.#flushes) return;
    this.#flushes = flushes;
    const { name, log } = this.options;
    const text = FLUSH_TEXTS[flushes];
    log[flushes === 'kept' ? 'info' : 'error']({}, `Device ${name}: ${text}.`);
    this.#tell(flushes === 'kept' ? 'flush' : 'no-flush', null, text);
  }

  /** It could not be started. */
  async failed(isSplitBrain: boolean, why: string): Promise<void> {
    this.#tell(isSplitBrain ? 'split-brain' : 'failed', null, why, null);
    await this.options.hooks?.close();
  }

  /** The mirror has ended in good order. */
  async stopped(): Promise<void> {
    this.#mirror = null;
    this.#tell('stopped', null, null);
    await this.options.hooks?.close();
  }

  #tell(
    event: HookEvent,
    component: Component | null,
    reason: string | null,
    state: HookCall['state'] = this.#mirror?.state ?? this.#state,
  ): void {
    this.options.hooks?.tell({
      event,
      mirror: this.options.name,
      state,
      component: component === null ? null : { name: component.name, state: component.state },
      reason,
    });
  }
}
