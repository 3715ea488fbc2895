import { OwnClients } from '../src/control/own-client.js';
import { Reconnect } from '../src/control/reconnect.js';
import { settleStopped } from '../src/control/settle-stopped.js';
import { DeviceError } from '../src/device/block-device.js';
import {
  assemble,
  type AssembledMirror,
  type OpenedProvider,
  type ProviderOpener,
} from '../src/mirror/start/assemble.js';
import type { Component } from '../src/mirror/component.js';
import type { ComponentState } from '../src/mirror/component-state.js';
import type { Membership } from '../src/mirror/members/membership.js';
import type { Mirror } from '../src/mirror/mirror.js';
import type { ByteRange } from '../src/protocol/geometry.js';
import type { Chance } from './chance.js';
import { type Cluster, MIRROR_NAME } from './cluster.js';
import type { Host } from './host.js';
import type { MirrorSettings } from './plan.js';
import { SimProcess } from './process.js';
import type { MemberCommand } from './steps.js';

export interface DaemonOptions {
  readonly cluster: Cluster;
  readonly host: Host;
  /** Whose disks are named as its components. */
  readonly named: readonly Host[];
  readonly settings: MirrorSettings;
  readonly chance: Chance;
  readonly changed: (what: string, component: Component, why: string | null) => void;
  /** What the log says on disks at first, as far as is known; nothing if left out. */
  readonly hotExtents?: readonly number[];
  /** A range that a component could not read is written there, until that resolves. Left out where nobody asks. */
  readonly repairing?: (range: ByteRange, ended: Promise<void>) => void;
}

export interface StartChoice {
  readonly isDegraded: boolean;
  /** Names of hosts whose disks a person has given up, or the one that has been chosen. */
  readonly discard?: readonly string[];
  readonly source?: string;
  /** Also from one to which a copy had not ended, alone. */
  readonly allowsMixture?: boolean;
}

/** The mirror's process on one host: its own disk is local, the others are reached through their hosts' servers. */
export class Daemon {
  readonly process: SimProcess;
  readonly host: Host;
  #assembled: AssembledMirror | null = null;
  #reconnect: Reconnect | null = null;
  #hadLocal = false;
  #hotExtents: readonly number[];
  #startedFrom: number[] = [];
  readonly #opened = new Set<number>();
  readonly #unnoted = new Set<number>();
  isStopping = false;

  constructor(private readonly options: DaemonOptions) {
    this.host = options.host;
    this.#hotExtents = options.hotExtents ?? [];
    this.process = new SimProcess(options.cluster.world, `mirror at ${options.host.name}`);
    this.host.taker = this.process;
    this.process.onKill(() => (this.host.taker = null));
  }

  /** Null until start() has resolved. */
  get mirror(): Mirror | null {
    return this.#assembled?.mirror ?? null;
  }

  /** The hosts of its components, by index; of those in `state` if that is given. */
  hostsIn(state?: ComponentState): number[] {
    const components = this.mirror?.components ?? [];
    return components
      .filter((component) => state === undefined || component.state === state)
      .map((component) => this.hostOf(component))
      .filter((index) => index >= 0)
      .sort((one, other) => one - other);
  }

  /** The hosts of those from whom others are copied, by index; before it runs of the one that stands for them. */
  get sources(): number[] {
    return this.mirror === null ? this.#startedFrom : this.hostsIn('ACTIVE');
  }

  /** What the log may say on disks: as it was put there last, and as it was to be. */
  get hotExtents(): readonly number[] {
    return this.#hotExtents;
  }

  /** The hosts of components that were given up since every loss was last on stable storage. */
  get unnoted(): readonly number[] {
    return this.mirror?.mustWait === true ? [...this.#unnoted] : [];
  }

  /** The hosts whose disks it could open, by index. */
  get opened(): readonly number[] {
    return [...this.#opened];
  }

  /** The hosts of components to which everything is copied, and that are not said to be in step yet. */
  get ending(): number[] {
    const { mirror } = this;
    return this.hostsIn('SYNCHRONIZING').filter((index) => {
      const component = this.#componentOf(index);
      return component !== null && mirror?.resyncOf(component) === null;
    });
  }

  /** Index of the host whose disk a component is; -1 if it was not named. */
  hostOf({ name }: Component): number {
    return this.options.cluster.hosts.findIndex((host) => host.name === name);
  }

  /** Rejects with AssembleError or DeviceError. Never settles when the process is killed meanwhile. */
  async start({ isDegraded, ...choice }: StartChoice): Promise<void> {
    const { named, settings, chance, changed } = this.options;
    const { process } = this;
    const assembled = await assemble({
      ...settings,
      ...choice,
      name: MIRROR_NAME,
      providers: named.map((host) => this.#openerOf(host)),
      degraded: isDegraded,
      clock: process,
      random: chance.fork('mirror'),
      isAutosync: true,
      sliceBytes: 4096,
      approve: ({ kept: [source] }) => {
        this.#startedFrom = [this.options.cluster.hosts.findIndex(({ name }) => name === source)];
        return Promise.resolve();
      },
      events: {
        changed: (what, component, why) => {
          if (!process.isAlive) return;
          if (what === 'disconnected') this.#unnoted.add(this.hostOf(component));
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
    this.#listenTo(mirror);
    const look = (component: Component) => assembled.look(component);
    this.#reconnect = new Reconnect({ mirror, reopen, look, clock: process, log });
    this.#reconnect.start();
  }

  #listenTo(mirror: Mirror): void {
    const { journal, reads } = mirror;
    const heal = reads.heal.bind(reads);
    reads.heal = (component, range, error) => {
      const ended = heal(component, range, error);
      this.options.repairing?.(range, ended);
      return ended;
    };
    const record = journal.lossesRecorded.bind(journal);
    journal.lossesRecorded = async () => {
      await record();
      if (!mirror.mustWait) this.#unnoted.clear();
    };
    const commit = journal.commitLog.bind(journal);
    journal.commitLog = async (extents) => {
      const { world } = this.options.cluster;
      if (extents.length > this.options.settings.extentsMax)
        world.fail(`there are ${extents.length} extents in the log`);
      const before = this.#hotExtents;
      this.#hotExtents = [...before, ...extents];
      await commit(extents);
      this.#hotExtents = extents;
      if (!mirror.mustWait) this.#unnoted.clear();
    };
  }

  /** As the control command does it; false where that refuses. */
  async rebuild(index: number): Promise<boolean> {
    const { mirror } = this;
    const component = this.#componentOf(index);
    if (mirror === null || component === null) return false;
    if (!mirror.components.some((one) => one !== component && one.state === 'ACTIVE')) return false;
    component.isFull = true;
    component.missing.markAll();
    mirror.drop(component, new DeviceError('DEVICE_CLOSED', 'ENXIO', `${component.name} is to be rebuilt`));
    await mirror.journal.writeAll();
    this.#reconnect?.wantResync(component);
    return true;
  }

  /** `resolve --discard` of a mirror that does not run: it is settled, and ends again. Rejects as start(). */
  async settle(discard: readonly string[]): Promise<void> {
    const { named, settings, chance } = this.options;
    await settleStopped({
      name: MIRROR_NAME,
      providers: named.map((host) => this.#openerOf(host)),
      degraded: false,
      timeoutMs: settings.timeoutMs,
      discard,
      approve: () => Promise.resolve(),
      clock: this.process,
      random: chance.fork('mirror'),
    });
    this.process.kill();
  }

  /** `resolve --discard` of this mirror, which runs. */
  async discard(index: number): Promise<void> {
    const component = this.#componentOf(index);
    if (component !== null) await this.#reconnect?.discard(component);
  }

  /** As the control commands do it. Rejects where they refuse, and when they fail. */
  async command(what: MemberCommand, index: number): Promise<void> {
    const { members } = this.#assembled ?? {};
    const component = this.#componentOf(index);
    if (members === undefined) return;
    if (what === 'insert') await this.#insert(members, index);
    else if (what === 'forget') await members.forget();
    else if (component !== null) {
      try {
        if (what === 'remove') await members.remove(component);
        else if (what === 'deactivate') await members.deactivate(component);
        else await members.activate(component);
      } finally {
        if (what !== 'deactivate') this.#reconnect?.wake(component);
      }
    }
  }

  async #insert(members: Membership, index: number): Promise<void> {
    const options = { priority: 0, isInactive: false, hardcodedProvider: '' };
    const opener = this.#openerOf(this.options.cluster.host(index));
    await members.insert(opener, { ...options, objection: () => Promise.resolve(null) });
  }

  #componentOf(index: number): Component | null {
    return this.mirror?.components.find((component) => this.hostOf(component) === index) ?? null;
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
    const clients = new OwnClients(this.options.chance.fork(`client of ${host.name}`));
    const open = async (): Promise<OpenedProvider> => {
      const opened = await (isLocal ? this.#openLocal() : this.#openRemote(host, clients));
      this.#opened.add(this.options.cluster.hosts.indexOf(host));
      return opened;
    };
    return { name: host.name, isLocal, open };
  }

  async #openLocal(): Promise<OpenedProvider> {
    // The first time the server has to let go of it; later nothing keeps a second opener out.
    const opened = this.#hadLocal ? this.host.open(this.process) : await this.host.takeOver(this.process);
    const { handle: device, note: flushNote } = opened;
    this.#hadLocal = true;
    return { device, area: null, abandon: () => device.abandon(), flushNote };
  }

  #openRemote(to: Host, clients: OwnClients): Promise<OpenedProvider> {
    const { cluster, settings } = this.options;
    const link = cluster.link(this.host, to);
    if (link === null) throw new Error('a remote at home');
    return cluster.openRemote({
      process: this.process,
      from: this.host,
      to,
      link,
      timeoutMs: settings.timeoutMs,
      clients,
    });
  }
}
