import type { RemoteEvents, RemoteOptions } from '../../src/client/options.js';
import { openRemote, type RemoteDevice } from '../../src/client/remote-device.js';
import { Chance } from '../chance.js';
import { Client } from '../client.js';
import { Cluster } from '../cluster.js';
import { disturb } from '../disturb.js';
import type { Host } from '../host.js';
import { Overwrites } from '../overwrites.js';
import type { Plan } from '../plan.js';
import { SimProcess } from '../process.js';
import { rangesOf } from '../ranges.js';
import type { SectorRange } from '../registers.js';
import type { ClientOp, Restart, Step } from '../steps.js';
import type { World } from '../world.js';
import { DurableRegisters } from './durable.js';
import type { Network } from './network.js';
import { EXPORT_PATH } from './server.js';
import { PORT, serveSessions } from './sessions.js';

const RETRY_MS = 1000;
/** When everything works again the client must have its device within this time. */
const RECOVERY_MS = 200_000;

/** One client that uses the disk of another host, without a mirror: what the wire promises by itself. */
export class Alone {
  readonly #registers: DurableRegisters;
  readonly #client: Client;
  readonly #from: Host;
  readonly #to: Host;
  readonly #options: Partial<RemoteOptions>;
  readonly #counts = { kills: 0, powerLosses: 0, cuts: 0, looks: 0, faults: 0 };
  #process: SimProcess | null = null;
  #device: RemoteDevice | null = null;
  #openings = 0;
  /** A flush of the disk has, since the client was started. */
  #hasFlushFailed = false;

  private constructor(
    private readonly plan: Plan,
    private readonly world: World,
    private readonly cluster: Cluster,
    private readonly network: Network,
    private readonly chance: Chance,
  ) {
    this.#from = cluster.host(0);
    this.#to = cluster.host(1);
    const registers = new DurableRegisters(this.#to.drive.disk, (what) => world.fail(what));
    this.#registers = registers;
    new Overwrites({
      ...{ registers, mediaSizeBytes: cluster.mediaSizeBytes },
      nextOrder: () => world.nextOrder(),
      broken: (what) => world.fail(what),
      mustWait: () => false,
    }).watch(this.#to.drive);
    const draw = chance.fork('options');
    const giveUpMs = draw.pick([null, 2000, 15_000]);
    this.#options = {
      requestTimeoutMs: plan.settings.timeoutMs,
      connectTimeoutMs: plan.settings.timeoutMs,
      window: { requestsMax: draw.pick([2, 16, 256]) },
      // As with a ggated: nothing but its protocol.
      extensions: !chance.fork('plain').happens(0.2),
      ...(draw.happens(0.25) ? { onConnectionLost: 'fail' } : { giveUpMs }),
    };
    this.#to.drive.conduct.flushFailed = () => (this.#hasFlushFailed = true);
    this.#client = new Client({ world, registers, hangMs: () => (giveUpMs === null ? 400_000 : 120_000) });
  }

  static async make(plan: Plan, world: World): Promise<Alone> {
    const chance = new Chance(plan.seed);
    const cluster = await Cluster.make(world, chance.fork('cluster'), plan);
    const clientsDropAtDeath = chance.fork('death').happens(0.5);
    const ways = { bytesPerMs: [Infinity, 5000, 500], clientsDropAtDeath };
    const network = serveSessions(cluster, chance.fork('sessions'), ways);
    return new Alone(plan, world, cluster, network, chance);
  }

  get counts() {
    return { ...this.#client.counts, ...this.#counts };
  }

  async run(): Promise<void> {
    const { world, plan } = this;
    world.say(() => `client: ${JSON.stringify(this.#options)}`);
    this.#open();
    for (const { atMs, step } of plan.steps) world.after(atMs, () => this.#perform(step));
    await world.run(() => false, (plan.steps.at(-1)?.atMs ?? 0) + 10);
    if (world.failure !== null) return;
    world.say(() => '*** everything works again');
    this.cluster.heal();
    await this.#verify();
    await this.#close();
    // What was flushed needs no power; that a flush failed the client knows.
    this.#to.powerOff();
    this.#registers.hostLostPower(world.nextOrder());
    this.#to.powerOn();
    this.#open();
    await this.#verify();
  }

  #perform(step: Step): void {
    const { world } = this;
    if (step.kind === 'io') {
      this.#use(step);
      return;
    }
    if (isOfMirrors(step)) return;
    world.say(() => `*** ${JSON.stringify(step)}`);
    this.#counts.faults += 1;
    if (step.kind === 'kill') this.#kill(step.restart);
    else if (step.kind === 'stop') this.#restart(step.restart);
    else if (step.kind === 'server') this.#to.restartServer();
    else if (step.kind === 'doom') {
      const { conduct } = this.#to.drive;
      conduct.failing.flush = 1;
      conduct.doom = () => (step.who === 'mirror' ? this.#kill(step.restart) : this.#to.restartServer());
    } else if (step.kind === 'power') this.#losePower([this.cluster.host(step.host)], step);
    else if (step.kind === 'blackout') this.#losePower([this.#from, this.#to], step);
    else {
      if (step.kind === 'cut' || step.kind === 'stall') this.#counts.cuts += 1;
      disturb(step, world, this.cluster);
    }
  }

  /** What the device does not know is left out, or done by writing. */
  #use({ op, ...range }: SectorRange & { readonly op: ClientOp }): void {
    const device = this.#device;
    if (device === null || (op === 'flush' && !device.can.flush)) return;
    const isKnown = op === 'write-zeroes' ? device.can.writeZeroes : op !== 'trim';
    this.#client.start(device, isKnown ? op : 'write', range);
  }

  #open(): void {
    const { world, chance, network } = this;
    const from = this.#from;
    if (!from.isOn) {
      world.after(RETRY_MS / 2, () => this.#open());
      return;
    }
    const process = new SimProcess(world, `client at ${from.name}`);
    this.#process = process;
    this.#hasFlushFailed = false;
    this.#openings += 1;
    openRemote({
      ...this.#options,
      uri: { host: network.addressOf(this.#to), port: PORT, path: EXPORT_PATH, isTls: false },
      access: 'rw',
      clock: process,
      random: chance.fork(`client ${this.#openings}`),
      connectTcp: (options) => network.connect(from, process, options).asSocket,
      events: this.#events(),
    }).then(
      (device) => {
        if (process.isAlive) this.#device = device;
      },
      (error: unknown) => {
        if (!process.isAlive) return;
        world.say(() => `client: ${(error as Error).message}`);
        process.kill();
        world.after(RETRY_MS, () => this.#open());
      },
    );
  }

  #events(): RemoteEvents {
    const say = (what: string) => this.world.say(() => `client: ${what}`);
    return {
      connected: ({ instanceId, bootId }) => say(`connected to ${instanceId ?? ''} of boot ${bootId ?? ''}`),
      lost: ({ message }) => say(`lost: ${message}`),
      restarted: (about) => say(`restarted: ${JSON.stringify(about)}`),
      gaveUp: ({ message }) => say(`gave up: ${message}`),
      changed: ({ message }) => this.world.fail(message),
    };
  }

  #kill({ afterMs }: Restart): void {
    // Whoever is not there yet is on the way.
    if (this.#process?.isAlive !== true) return;
    this.#counts.kills += 1;
    // The end of its connections may look like that of a session in order, while the answer that tells of it is on its way.
    if (!this.network.clientsDropAtDeath && this.#client.inFlight > 0 && this.#hasFlushFailed)
      this.#registers.flushFailed(this.world.nextOrder());
    this.#process.kill();
    this.#gone();
    this.world.after(afterMs, () => this.#open());
  }

  #gone(): void {
    this.#device = null;
    this.#client.forget();
  }

  #restart(restart: Restart): void {
    const { world } = this;
    const device = this.#device;
    const process = this.#process;
    if (device === null || process === null) return;
    this.#device = null;
    const closed = (): void => {
      if (!process.isAlive) return;
      process.kill();
      this.#gone();
      world.after(restart.afterMs, () => this.#open());
    };
    device.close().then(closed, (error: unknown) => world.fail(error as Error));
  }

  #losePower(hosts: readonly Host[], { offMs, restart }: { offMs: number; restart: Restart }): void {
    const { world } = this;
    for (const host of hosts) {
      if (!host.isOn) continue;
      this.#counts.powerLosses += 1;
      if (host === this.#from) this.#kill(restart);
      host.powerOff();
      if (host === this.#to) this.#registers.hostLostPower(world.nextOrder());
      world.after(offMs, () => host.powerOn());
    }
  }

  /** Everything that was written can be read, and flushed. */
  async #verify(): Promise<void> {
    const { world } = this;
    const client = this.#client;
    const untilMs = world.nowMs + RECOVERY_MS;
    const isQuiet = (): boolean => this.#device?.isConnected === true && client.inFlight === 0;
    // The first flush may have to tell of a loss, and a lost connection is noticed only when it is used.
    for (let left = 5; left > 0; left--) {
      await world.run(isQuiet, untilMs);
      this.#use({ op: 'flush', firstSector: 0, sectorCount: 0 });
    }
    for (const range of rangesOf(this.#registers.writtenSectors())) {
      await world.run(isQuiet, untilMs);
      if (this.#device !== null) client.start(this.#device, 'read', range);
    }
    await world.run(isQuiet, untilMs);
    if (!isQuiet()) world.fail('the client does not get its device back');
  }

  async #close(): Promise<void> {
    let isClosed = false;
    this.#device?.close().then(
      () => (isClosed = true),
      (error: unknown) => this.world.fail(error as Error),
    );
    await this.world.run(() => isClosed, this.world.nowMs + 60_000);
    this.#process?.kill();
    this.#gone();
  }
}

const OF_MIRRORS = ['look', 'rebuild', 'bad', 'members', 'verify', 'misdirect', 'jump'] as const;
type OfMirrors = Extract<Step, { kind: (typeof OF_MIRRORS)[number] }>;
const isOfMirrors = (step: Step): step is OfMirrors => OF_MIRRORS.some((kind) => kind === step.kind);
