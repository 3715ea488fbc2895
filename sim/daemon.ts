import { Reconnect } from '../src/control/reconnect.js';
import { DeviceError } from '../src/device/block-device.js';
import {
  assemble,
  type AssembledMirror,
  type OpenedProvider,
  type ProviderOpener,
} from '../src/mirror/assemble.js';
import type { BalanceAlgorithm } from '../src/mirror/balance.js';
import type { Component } from '../src/mirror/component.js';
import type { Mirror } from '../src/mirror/mirror.js';
import type { Chance } from './chance.js';
import { type Cluster, MIRROR_NAME } from './cluster.js';
import { DiskHandle } from './disk-handle.js';
import type { Host } from './host.js';
import { SimProcess } from './process.js';

/** What the daemon is started with. */
export interface MirrorSettings {
  readonly balance: BalanceAlgorithm;
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly extentsMax: number;
  readonly resyncBytesPerSecond: number;
}

export interface DaemonOptions {
  readonly cluster: Cluster;
  readonly host: Host;
  readonly settings: MirrorSettings;
  readonly chance: Chance;
  readonly changed: (what: string, component: Component, why: string | null) => void;
}

/** The mirror's process on one host: its own disk is local, the others are reached through their hosts' servers. */
export class Daemon {
  readonly process: SimProcess;
  readonly host: Host;
  #assembled: AssembledMirror | null = null;
  #reconnect: Reconnect | null = null;
  #hadLocal = false;
  isStopping = false;

  constructor(private readonly options: DaemonOptions) {
    this.host = options.host;
    this.process = new SimProcess(options.cluster.world, `mirror at ${options.host.name}`);
    this.host.isTaken = true;
    this.process.onKill(() => (this.host.isTaken = false));
  }

  /** Null until start() has resolved. */
  get mirror(): Mirror | null {
    return this.#assembled?.mirror ?? null;
  }

  /** By slot, which is the index of the host. */
  slotsIn(state: string): number[] {
    const components = this.mirror?.components ?? [];
    return components
      .filter((component) => component.state === state)
      .map(({ identity }) => identity.slot)
      .sort((one, other) => one - other);
  }

  /** Rejects with AssembleError or DeviceError. Never settles when the process is killed meanwhile. */
  async start(isDegraded: boolean): Promise<void> {
    const { cluster, settings, chance, changed } = this.options;
    const { process } = this;
    const assembled = await assemble({
      ...settings,
      name: MIRROR_NAME,
      providers: cluster.hosts.map((host) => this.#openerOf(host)),
      degraded: isDegraded,
      clock: process,
      random: chance.fork('mirror'),
      isAutosync: true,
      sliceBytes: 4096,
      events: {
        changed: (what, component, why) => {
          if (!process.isAlive) return;
          changed(what, component, why);
          this.#reconnect?.changed(what, component);
        },
      },
    });
    if (!process.isAlive) return;
    const { mirror } = assembled;
    const reopen = (component: Component) => assembled.reopen(component);
    const silent = () => undefined;
    const log = { debug: silent, info: silent, warn: silent, error: silent };
    this.#assembled = assembled;
    this.#reconnect = new Reconnect({ mirror, reopen, clock: process, log });
    this.#reconnect.start();
  }

  /** As the control command does it; false where that refuses. */
  async rebuild(slot: number): Promise<boolean> {
    const { mirror } = this;
    const component = mirror?.components.find(({ identity }) => identity.slot === slot);
    if (mirror === null || component === undefined) return false;
    if (!mirror.components.some((one) => one !== component && one.state === 'ACTIVE')) return false;
    component.isFull = true;
    component.missing.markAll();
    mirror.drop(component, new DeviceError('DEVICE_CLOSED', 'ENXIO', `${component.name} is to be rebuilt`));
    await mirror.journal.writeAll();
    this.#reconnect?.wantResync(component);
    return true;
  }

  /** Ends cleanly. */
  async stop(): Promise<void> {
    this.isStopping = true;
    const reconnectStopped = this.#reconnect?.stop();
    await this.#assembled?.close();
    await reconnectStopped;
    this.process.kill();
  }

  #openerOf(host: Host): ProviderOpener {
    const isLocal = host === this.host;
    return { name: host.name, isLocal, open: () => (isLocal ? this.#openLocal() : this.#openRemote(host)) };
  }

  async #openLocal(): Promise<OpenedProvider> {
    const { world } = this.options.cluster;
    // The first time the server has to let go of it; later nothing keeps a second opener out.
    const device = this.#hadLocal
      ? new DiskHandle(world, this.process, this.host.drive)
      : await this.host.takeOver(this.process);
    this.#hadLocal = true;
    return { device, area: null, abandon: () => device.abandon() };
  }

  #openRemote(to: Host): Promise<OpenedProvider> {
    const { cluster, settings } = this.options;
    const link = cluster.link(this.host, to);
    if (link === null) throw new Error('a remote at home');
    return cluster.openRemote({
      process: this.process,
      from: this.host,
      to,
      link,
      timeoutMs: settings.timeoutMs,
    });
  }
}
