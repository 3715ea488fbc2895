import type { TlsOptions } from 'node:tls';
import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import {
  assemble,
  type AssembledMirror,
  AssembleError,
  type AssembleOptions,
  type ProviderOpener,
} from '../mirror/start/assemble.js';
import type { BalanceAlgorithm } from '../mirror/balance.js';
import type { Component } from '../mirror/component.js';
import type { SplitBrainPolicy } from '../mirror/decide/split-brain-policy.js';
import type { Membership, NotErased } from '../mirror/members/membership.js';
import type { Mirror, MirrorEvents } from '../mirror/mirror.js';
import { messageOf } from '../protocol/errors.js';
import type { NbdEndpoint } from '../server/nbd/nbd-server.js';
import type { ServerLog } from '../server/server-log.js';
import { Announcer } from './announcer.js';
import { type ControlRequest, parseRequest, performRequest } from './commands/all.js';
import { ControlServer } from './control-server.js';
import { FrontEnds, type GgateFrontOptions } from './front-ends.js';
import { Hooks, type StartHook } from './hooks.js';
import { DEVICE_TIMEOUT_MS_MIN, EXTENTS_MAX, IDLE_CLEAN_MS } from './limits.js';
import { Reconnect } from './reconnect.js';
import type { RunningMirror } from './running-mirror.js';
import { Users } from './users.js';
import { type MirrorStatus, type ProviderSize, statusOf } from './status.js';

export interface MirrorServiceOptions {
  readonly name: string;
  readonly providers: readonly ProviderOpener[];
  /** For providers that are inserted later. */
  readonly openerOf: (text: string) => ProviderOpener;
  /** Start although components are missing. */
  readonly degraded: boolean;
  /** The provider whose data a person has chosen: all others are overwritten. Null for the decision by generations. */
  readonly source: string | null;
  /** Null for what the label says. */
  readonly balance: BalanceAlgorithm | null;
  /** Null for what the label says. */
  readonly sliceBytes: number | null;
  /** A component that is silent for this long is dropped. */
  readonly timeoutMs: number;
  readonly isAutosync: boolean;
  /** 0 for as fast as it goes. */
  readonly resyncBytesPerSecond: number;
  readonly afterSplitBrain: SplitBrainPolicy;
  readonly controlPath: string;
  /**
   * With `degraded`: not without a remote component that is there and in use by somebody else, who may have taken over.
   * The start fails with ASSEMBLE_MISSING then.
   */
  readonly respectsUsers: boolean;
  /** Not from a component that may have lost what was written to it last: the start fails with ASSEMBLE_DOUBTFUL then. */
  readonly refusesDoubt: boolean;
  /** See AssembleOptions. */
  readonly allowsMixture: boolean;
  /** Whether a start that failed so is tried again: then nobody is told of it. Left out: none is. */
  readonly isTriedAgain?: (error: unknown) => boolean;
  /** Called just before the control socket is made: whoever has answered on it so far stops that. */
  readonly handOver?: () => Promise<void>;
  /** Served to root only. */
  readonly nbdPath: string;
  readonly nbdTcp: { readonly host: string; readonly port: number; readonly tls?: TlsOptions } | null;
  /** Null if nobody is to reach the mirror over ggate. */
  readonly ggate: GgateFrontOptions | null;
  /** What is called when something happens to the mirror; null for nothing. */
  readonly hook: StartHook | null;
  readonly pid: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: ServerLog;
}

/** A running mirror with everything around it: its components' return, its front ends, its control socket. */
export class MirrorService implements RunningMirror {
  readonly reconnect: Reconnect;
  readonly #fronts: FrontEnds;
  readonly #control: ControlServer<ControlRequest>;
  #stopping: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #resolveStopping: () => void = () => undefined;
  readonly #whenStopping = new Promise<void>((resolve) => (this.#resolveStopping = resolve));

  private constructor(
    private readonly options: MirrorServiceOptions,
    private readonly assembled: AssembledMirror,
    private readonly announcer: Announcer,
    private readonly providers: Map<string, ProviderSize>,
  ) {
    const { clock, log, controlPath } = options;
    const { mirror } = assembled;
    const reopen = (component: Component): ReturnType<AssembledMirror['reopen']> =>
      assembled.reopen(component);
    this.reconnect = new Reconnect({ mirror, reopen, clock, log });
    const deviceTimeoutMs = Math.max(DEVICE_TIMEOUT_MS_MIN, 3 * options.timeoutMs);
    this.#fronts = new FrontEnds({ ...options, device: mirror, nbd: endpointsOf(options), deviceTimeoutMs });
    this.#control = new ControlServer({
      path: controlPath,
      parse: parseRequest,
      // A change of the components changes the mirror's state, too.
      handle: (request) => performRequest(this, request).finally(() => this.announcer.look()),
      clock,
      log,
    });
  }

  /** Rejects with AssembleError, DeviceError or ListenError; everything is closed again then. */
  static async start(options: MirrorServiceOptions): Promise<MirrorService> {
    const { name, log, hook } = options;
    const hooks = hook === null ? null : new Hooks({ start: hook, clock: options.clock, log });
    const announcer = new Announcer({ name, log, hooks });
    const sizes = new Map<string, ProviderSize>();
    const users = new Users();
    const openers = options.respectsUsers
      ? options.providers.map((opener) => users.watch(opener))
      : options.providers;
    const providers = openers.map((opener) => noticing(opener, sizes));
    // Components go away while others are still being opened, when nobody brings them back yet.
    let service: MirrorService | null = null;
    const events: MirrorEvents = {
      changed(what, component, why) {
        announcer.changed(what, component, why);
        service?.reconnect.changed(what, component);
      },
    };
    try {
      const assembled = await assemble({
        ...assembleOptions(options, providers, events),
        approve: ({ doubt }) => {
          users.requireNone();
          if (options.refusesDoubt && doubt !== null) throw doubtful(doubt);
        },
      });
      service = new MirrorService(options, assembled, announcer, sizes);
      await service.#begin();
      return service;
    } catch (error) {
      if (options.isTriedAgain?.(error) === true) throw error;
      const isSplitBrain = error instanceof AssembleError && error.code === 'ASSEMBLE_SPLIT_BRAIN';
      await announcer.failed(isSplitBrain, messageOf(error));
      throw error;
    }
  }

  async #begin(): Promise<void> {
    const { name, log } = this.options;
    try {
      await this.#fronts.start();
      await this.options.handOver?.();
      await this.#control.start();
    } catch (error) {
      await this.#fronts.close();
      await this.assembled.close();
      throw error;
    }
    this.reconnect.start();
    const { components } = this.assembled.mirror;
    const active = components.filter(({ state }) => state === 'ACTIVE').length;
    const { nbdAddresses: nbd, ggateStatus } = this.#fronts;
    const ggate = ggateStatus?.addresses ?? [];
    log.info({ nbd, ggate }, `Device mirror/${name} launched (${active}/${components.length}).`);
    this.announcer.launched(this.assembled.mirror);
  }

  /** Resolves when somebody has asked on the control socket for the end; close() is next. */
  get whenStopping(): Promise<void> {
    return this.#whenStopping;
  }

  get name(): string {
    return this.options.name;
  }

  get mirror(): Mirror {
    return this.assembled.mirror;
  }

  get members(): Membership {
    return this.assembled.members;
  }

  openerOf(text: string): ProviderOpener {
    return noticing(this.options.openerOf(text), this.providers);
  }

  get log(): ServerLog {
    return this.options.log;
  }

  get clientCount(): number {
    return this.#fronts.clientCount;
  }

  status(): MirrorStatus {
    const { name, pid, isAutosync } = this.options;
    return statusOf(this.mirror, {
      name,
      pid,
      isAutosync,
      nbd: this.#fronts.nbdAddresses,
      ggate: this.#fronts.ggateStatus,
      clients: this.clientCount,
      providers: this.providers,
    });
  }

  /** For whoever asked on the control socket. */
  async stop(): Promise<void> {
    const stopped = this.#stop();
    this.#resolveStopping();
    await stopped;
  }

  async destroy(): Promise<NotErased[]> {
    await this.#stop();
    // Until it is done, the process must not end.
    try {
      return await this.members.eraseAll();
    } finally {
      this.#resolveStopping();
    }
  }

  /**
   * Ends cleanly: requests are finished, everything is flushed, labels are clean, and whoever asked for it is answered.
   * May be called twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#stop().finally(() => this.#control.close());
    await this.announcer.stopped();
  }

  #stop(): Promise<void> {
    this.#stopping ??= this.#stopInOrder();
    return this.#stopping;
  }

  async #stopInOrder(): Promise<void> {
    await this.#fronts.close();
    // An attempt may wait for a silent server; what it brings is closed when it comes.
    const reconnectStopped = this.reconnect.stop();
    await this.assembled.close();
    await reconnectStopped;
    this.options.log.info({}, `Device mirror/${this.options.name} stopped.`);
  }
}

function assembleOptions(
  options: MirrorServiceOptions,
  providers: readonly ProviderOpener[],
  events: MirrorEvents,
): AssembleOptions {
  const { name, degraded, source, balance, sliceBytes, clock, random, timeoutMs, isAutosync } = options;
  return {
    ...{ name, providers, degraded, source, clock, random, events, timeoutMs, isAutosync },
    allowsMixture: options.allowsMixture,
    ...(balance === null ? {} : { balance }),
    ...(sliceBytes === null ? {} : { sliceBytes }),
    resyncBytesPerSecond: options.resyncBytesPerSecond,
    afterSplitBrain: options.afterSplitBrain,
    idleMs: IDLE_CLEAN_MS,
    extentsMax: EXTENTS_MAX,
  };
}

const doubtful = (doubt: string): AssembleError =>
  new AssembleError(
    'ASSEMBLE_DOUBTFUL',
    `${doubt}; if another component has it, start with that, or go on without what is lost with --force`,
  );

/** The same opener, which notes what sizes it finds. */
function noticing(opener: ProviderOpener, sizes: Map<string, ProviderSize>): ProviderOpener {
  const open = async (): ReturnType<ProviderOpener['open']> => {
    const opened = await opener.open();
    const { mediaSizeBytes, sectorSizeBytes } = opened.device;
    sizes.set(opener.name, { mediaSizeBytes, sectorSizeBytes });
    return opened;
  };
  return { ...opener, open };
}

function endpointsOf({ nbdPath, nbdTcp }: MirrorServiceOptions): NbdEndpoint[] {
  return nbdTcp === null ? [{ unixPath: nbdPath }] : [{ unixPath: nbdPath }, nbdTcp];
}
