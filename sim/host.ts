import { DeviceError } from '../src/device/block-device.js';
import { FlushNote } from '../src/device/flush-note.js';
import { DiskHandle, type Drive } from './disk-handle.js';
import { type LeftToNext, ServedDisk } from './noted-disk.js';
import { SimProcess } from './process.js';
import type { Wire } from './link.js';
import type { World } from './world.js';

/** One client's attachment to the disk of a host. */
export interface Attachment {
  readonly disk: ServedDisk;
  readonly wire: Wire;
}

/** A server that does without attach(). */
export interface HostServices {
  /** A process of the server has begun. */
  begin(process: SimProcess): void;
  /** Resolves when no client of the server can reach the disk any more. */
  letGo(): Promise<void>;
  /** The host's power is gone, or back. */
  power(isOn: boolean): void;
}

const PLAIN = { flush: false, trim: false, writeZeroes: false, checksum: false } as const;

/** A machine with one disk, a server that exports it, and room for the mirror. */
export class Host {
  isOn = true;
  /** When its disk lost its cache last, in the order of the world; 0 for never. */
  lostPowerAt = 0;
  /** The mirror that runs here, and has the disk to itself. */
  taker: SimProcess | null = null;
  #server: SimProcess;
  #services: HostServices | null = null;
  /** Its server can't flush, nor anything else that a plain ggated can't. */
  isPlain = false;
  /** What its run directory says of its disk: see FlushNote. */
  #isFlushDoubtful = false;
  /** In the memory of its server. */
  #left: LeftToNext = { owesFlush: false };
  readonly #attachments = new Set<Attachment>();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly world: World,
    readonly name: string,
    readonly drive: Drive,
  ) {
    this.#server = new SimProcess(world, `server at ${name}`);
  }

  get server(): SimProcess {
    return this.#server;
  }

  /** The clocks of all its programs do. */
  jumpClocks(byMs: number): void {
    this.#server.jump(byMs);
    this.taker?.jump(byMs);
  }

  /** The disk as its server has it. */
  get served(): Drive {
    const { drive, isPlain } = this;
    return isPlain ? { ...drive, can: { ...drive.can, ...PLAIN } } : drive;
  }

  /** Its disk, opened alone by a process that keeps a note of its flushes. */
  open(process: SimProcess, drive = this.drive): { readonly handle: DiskHandle; readonly note: FlushNote } {
    const note = this.openNote(process);
    return { handle: new DiskHandle(this.world, process, drive, note), note };
  }

  openNote(process: SimProcess): FlushNote {
    return new FlushNote({
      wasInDoubt: this.#isFlushDoubtful,
      keep: (isInDoubt) => {
        if (process.isAlive) this.#isFlushDoubtful = isInDoubt;
      },
      close: () => undefined,
    });
  }

  serve(services: HostServices): void {
    this.#services = services;
    services.begin(this.#server);
  }

  /** For the mirror that runs here: resolves when no client of the server can reach the disk any more. */
  takeOver(process: SimProcess): Promise<{ readonly handle: DiskHandle; readonly note: FlushNote }> {
    return this.#inTurn(async () => {
      await this.#endAttachments();
      return this.open(process);
    });
  }

  /** A client of the server; the one before it is gone when this resolves. Rejects if the mirror runs here. */
  attach(wire: Wire): Promise<ServedDisk> {
    return this.#inTurn(async () => {
      await this.#endAttachments();
      if (this.taker !== null)
        throw new DeviceError('DEVICE_REFUSED', 'EBUSY', `${this.name}: the image is in use`);
      const { handle, note } = this.open(this.#server, this.served);
      const disk = new ServedDisk(handle, note, this.#left, this.drive.conduct);
      this.#attachments.add({ disk, wire });
      return disk;
    });
  }

  /** The server is killed and started again; its clients' connections are reset. */
  restartServer(): void {
    this.#server.kill();
    for (const { wire } of this.#attachments) wire.reset();
    this.#attachments.clear();
    if (this.isOn) this.#startServer();
  }

  powerOff(): void {
    if (!this.isOn) return;
    this.isOn = false;
    this.#server.kill();
    this.drive.conduct.heal();
    this.drive.disk.losePower(this.drive.chance);
    this.lostPowerAt = this.world.nextOrder();
    this.#isFlushDoubtful = false;
    this.#services?.power(false);
  }

  /** Whoever was connected learns now that nobody knows of that. */
  powerOn(): void {
    if (this.isOn) return;
    this.isOn = true;
    for (const { wire } of this.#attachments) wire.reset();
    this.#attachments.clear();
    this.#services?.power(true);
    this.#startServer();
  }

  #startServer(): void {
    this.#server = new SimProcess(this.world, `server at ${this.name}`);
    this.#left = { owesFlush: false };
    this.#services?.begin(this.#server);
  }

  async #endAttachments(): Promise<void> {
    await this.#services?.letGo();
    const old = [...this.#attachments];
    await Promise.all(
      old.map(({ disk, wire }) => {
        wire.closeFrom('back');
        return disk.close();
      }),
    );
    for (const attachment of old) this.#attachments.delete(attachment);
  }

  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    const mine = this.#turn.then(run);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }
}
