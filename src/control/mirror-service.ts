import { AwakeLoop } from '../device/platform/awake-loop.js';
import { ExchangeableDevice } from '../device/wrappers/exchangeable.js';
import {
  assemble,
  type AssembledMirror,
  AssembleError,
  type ProviderOpener,
} from '../mirror/start/assemble.js';
import type { Component } from '../mirror/component.js';
import type { Membership, NotErased } from '../mirror/members/membership.js';
import type { Mirror, MirrorEvents } from '../mirror/mirror.js';
import type { Resized, ResizeOptions } from '../mirror/start/resize.js';
import { messageOf } from '../protocol/errors.js';
import type { ServerLog } from '../server/server-log.js';
import { Announcer } from './announcer.js';
import { type ControlRequest, parseRequest, performRequest } from './commands/all.js';
import { ControlError } from './control-error.js';
import { ControlServer } from './control-server.js';
import { FrontEnds } from './front-ends.js';
import { Hooks } from './hooks.js';
import { DEVICE_TIMEOUT_MS_MIN } from './limits.js';
import { Reconnect } from './reconnect.js';
import { ResizeGate, resizeRunning } from './resize-running.js';
import type { RunningMirror } from './running-mirror.js';
import { Users } from './users.js';
import { againOptions, assembleOptions, endpointsOf, type MirrorServiceOptions } from './service-options.js';
import { type MirrorStatus, type ProviderSize, statusOf } from './status.js';

/** A running mirror with everything around it: its components' return, its front ends, its control socket. */
export class MirrorService implements RunningMirror {
  #reconnect: Reconnect;
  /** What the front ends serve: the mirror, whichever object that is. */
  readonly #device: ExchangeableDevice;
  readonly #gate = new ResizeGate();
  readonly #fronts: FrontEnds;
  readonly #control: ControlServer<ControlRequest>;
  #stopping: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  #resolveStopping: () => void = () => undefined;
  readonly #whenStopping = new Promise<void>((resolve) => (this.#resolveStopping = resolve));

  private constructor(
    private readonly options: MirrorServiceOptions,
    private assembled: AssembledMirror,
    private readonly announcer: Announcer,
    private readonly providers: Map<string, ProviderSize>,
    private readonly events: MirrorEvents,
  ) {
    const { clock, log, controlPath } = options;
    this.#reconnect = reconnectOf(assembled, options);
    const awake = new AwakeLoop();
    this.#device = new ExchangeableDevice(assembled.mirror, () => awake.cameAlone());
    const deviceTimeoutMs = Math.max(DEVICE_TIMEOUT_MS_MIN, 3 * options.timeoutMs);
    this.#fronts = new FrontEnds({
      ...options,
      device: this.#device,
      nbd: endpointsOf(options),
      deviceTimeoutMs,
    });
    this.#control = new ControlServer({
      path: controlPath,
      parse: parseRequest,
      // A change of the components changes the mirror's state, too.
      handle: (request) =>
        this.#gate
          .pass(request.command, () => performRequest(this, request))
          .finally(() => this.announcer.look()),
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
      service = new MirrorService(options, assembled, announcer, sizes, events);
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

  get reconnect(): Reconnect {
    return this.#reconnect;
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

  /** Makes the mirror larger while it is in use. Rejects with ControlError. */
  async resize(size: ResizeOptions['size']): Promise<Resized> {
    const { name, random, log } = this.options;
    try {
      const resized = await resizeRunning(
        {
          ...{ name, random, device: this.#device, assembled: this.assembled },
          rest: () => this.#reconnect.stop(),
          assemble: (providers, conduct) =>
            assemble(assembleOptions(againOptions(this.options, conduct), providers, this.events)),
          replaced: (assembled) => this.#replaced(assembled),
        },
        size,
      );
      log.info({ ...resized }, `Device mirror/${name} resized.`);
      this.announcer.resized();
      return resized;
    } catch (error) {
      if (error instanceof ControlError) throw error;
      log.error({ reason: messageOf(error) }, `Device mirror/${name} is lost by a resize and ends.`);
      this.#resolveStopping();
      throw new ControlError(`mirror/${name} has ended: ${messageOf(error)}`, { cause: error });
    }
  }

  #replaced(assembled: AssembledMirror): void {
    this.assembled = assembled;
    this.#reconnect = reconnectOf(assembled, this.options);
    this.#reconnect.start();
    this.announcer.replaced(assembled.mirror);
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
    this.#gate.shut(`mirror/${this.options.name} is being stopped`);
    this.#stopping ??= this.#stopInOrder();
    return this.#stopping;
  }

  async #stopInOrder(): Promise<void> {
    await this.#gate.free();
    await this.#fronts.close();
    // An attempt may wait for a silent server; what it brings is closed when it comes.
    const reconnectStopped = this.reconnect.stop();
    await this.assembled.close();
    await reconnectStopped;
    this.options.log.info({}, `Device mirror/${this.options.name} stopped.`);
  }
}

function reconnectOf(assembled: AssembledMirror, { clock, log }: MirrorServiceOptions): Reconnect {
  const reopen = (component: Component): ReturnType<AssembledMirror['reopen']> => assembled.reopen(component);
  const look = (component: Component): ReturnType<AssembledMirror['look']> => assembled.look(component);
  return new Reconnect({ mirror: assembled.mirror, reopen, look, clock, log });
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
