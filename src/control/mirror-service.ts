import type { TlsOptions } from 'node:tls';
import type { Clock } from '../device/clock.js';
import type { RandomSource } from '../device/random.js';
import { assemble, type AssembledMirror, type ProviderOpener } from '../mirror/assemble.js';
import type { BalanceAlgorithm } from '../mirror/balance.js';
import type { Component } from '../mirror/component.js';
import type { Membership, NotErased } from '../mirror/membership.js';
import type { Mirror, MirrorEvents } from '../mirror/mirror.js';
import type { NbdEndpoint } from '../server/nbd/nbd-server.js';
import type { ServerLog } from '../server/server-log.js';
import { performRequest } from './commands/all.js';
import { ControlServer } from './control-server.js';
import { FrontEnds, type GgateFrontOptions } from './front-ends.js';
import { DEVICE_TIMEOUT_MS_MIN, EXTENTS_MAX, IDLE_CLEAN_MS } from './limits.js';
import { Reconnect } from './reconnect.js';
import type { RunningMirror } from './running-mirror.js';
import { type MirrorStatus, type ProviderSize, statusOf } from './status.js';

export interface MirrorServiceOptions {
  readonly name: string;
  readonly providers: readonly ProviderOpener[];
  /** For providers that are inserted later. */
  readonly openerOf: (text: string) => ProviderOpener;
  /** Start although components are missing. */
  readonly degraded: boolean;
  /** Of a provider, the one whose data is taken; null for the decision by generations. */
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
  readonly controlPath: string;
  /** Served to root only. */
  readonly nbdPath: string;
  readonly nbdTcp: { readonly host: string; readonly port: number; readonly tls?: TlsOptions } | null;
  /** Null if nobody is to reach the mirror over ggate. */
  readonly ggate: GgateFrontOptions | null;
  readonly pid: number;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: ServerLog;
}

/** A running mirror with everything around it: its components' return, its front ends, its control socket. */
export class MirrorService implements RunningMirror {
  readonly reconnect: Reconnect;
  readonly #fronts: FrontEnds;
  readonly #control: ControlServer;
  #stopping: Promise<void> | null = null;
  #resolveStopping: () => void = () => undefined;
  readonly #whenStopping = new Promise<void>((resolve) => (this.#resolveStopping = resolve));

  private constructor(
    private readonly options: MirrorServiceOptions,
    private readonly assembled: AssembledMirror,
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
      handle: (request) => performRequest(this, request),
      clock,
      log,
    });
  }

  /** Rejects with AssembleError, DeviceError or ListenError; everything is closed again then. */
  static async start(options: MirrorServiceOptions): Promise<MirrorService> {
    const { name, log } = options;
    const sizes = new Map<string, ProviderSize>();
    const providers = options.providers.map((opener) => noticing(opener, sizes));
    // Components go away while others are still being opened, when nobody brings them back yet.
    let service: MirrorService | null = null;
    const events: MirrorEvents = {
      changed(what, component, why) {
        logChange(log, name, { what, component, why });
        service?.changed(what, component);
      },
    };
    const {
      balance,
      sliceBytes,
      degraded,
      source,
      clock,
      random,
      timeoutMs,
      isAutosync,
      resyncBytesPerSecond,
    } = options;
    const assembled = await assemble({
      ...{
        name,
        providers,
        degraded,
        source,
        clock,
        random,
        events,
        timeoutMs,
        isAutosync,
        resyncBytesPerSecond,
      },
      ...(balance === null ? {} : { balance }),
      ...(sliceBytes === null ? {} : { sliceBytes }),
      idleMs: IDLE_CLEAN_MS,
      extentsMax: EXTENTS_MAX,
    });
    service = new MirrorService(options, assembled, sizes);
    await service.#begin();
    return service;
  }

  async #begin(): Promise<void> {
    const { name, log } = this.options;
    try {
      await this.#fronts.start();
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
  async close(): Promise<void> {
    await this.#stop().finally(() => this.#control.close());
  }

  changed(what: string, component: Component): void {
    this.reconnect.changed(what, component);
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

interface Change {
  readonly what: string;
  readonly component: Component;
  readonly why: string | null;
}

/** In the words of the kernel's mirror, for those who watch its log. */
function logChange(log: ServerLog, name: string, { what, component, why }: Change): void {
  const provider = `provider ${component.name}`;
  const fields = why === null ? {} : { reason: why };
  const say = (text: string): string => `Device ${name}: ${text}`;
  if (what === 'disconnected') log.warn(fields, say(`${provider} disconnected.`));
  else if (what === 'stale') log.warn(fields, say(`${provider} is stale.`));
  else if (what === 'rebuilding') log.info(fields, say(`rebuilding ${provider}.`));
  else if (what === 'rebuilt') log.info(fields, say(`rebuilding ${provider} finished.`));
  else if (what === 'repaired') log.warn(fields, say(`${provider}: a bad range was rewritten.`));
  else if (what === 'split brain') {
    log.error(
      fields,
      say(`${provider} was written without the others (split brain); neither side is touched.`),
    );
  } else if (what === 'foreign')
    log.error(fields, say(`${provider} belongs to another mirror; it is not used.`));
  else log.info(fields, say(`${provider}: ${what}.`));
}
