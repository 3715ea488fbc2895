import type { Socket, TcpSocketConnectOpts } from 'node:net';
import { Duplex } from 'node:stream';
import type { Timer } from '../../src/device/clock.js';
import type { SimProcess } from '../process.js';

/** What a socket asks of the kernel of its host. */
export interface KernelEnd {
  /** How much more the send buffer takes. */
  readonly roomBytes: number;
  /** Takes the bytes, which are the kernel's own from now on. */
  send(bytes: Buffer): void;
  /** What was sent still goes out, then the peer hears of the end. */
  finish(): void;
  /** What has not gone out is dropped, and the peer is told so. */
  reset(): void;
  /** The program has taken so much. */
  consumed(lengthBytes: number): void;
  /** The socket is closed; who sends to it is answered by a reset. */
  closed(): void;
}

export interface SimSocketOptions {
  readonly kernel: KernelEnd;
  readonly process: SimProcess;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Of the end that connects; null for the accepted one. */
  readonly connect: TcpSocketConnectOpts | null;
  /** It has asked for that: if its process is killed the kernel drops what it has not sent, and tells the peer so. */
  readonly dropsAtDeath: boolean;
}

const errorOf = (code: string, what: string): Error => Object.assign(new Error(`${what} ${code}`), { code });

/** One end of a simulated connection, for programs that expect a Socket of node:net. */
export class SimSocket extends Duplex {
  readonly remoteAddress: string;
  readonly remotePort: number;
  connecting: boolean;
  bytesRead = 0;
  readonly #kernel: KernelEnd;
  readonly #process: SimProcess;
  readonly #onread: TcpSocketConnectOpts['onread'];
  readonly #received: Buffer[] = [];
  #hasEnd = false;
  #isWanted = true;
  #isClosed = false;
  #unsent: { readonly bytes: Buffer; at: number; readonly done: () => void } | null = null;
  #idle: Timer | null = null;
  readonly #kill: { cancel(): void };

  constructor({ kernel, process, remoteAddress, remotePort, connect, dropsAtDeath }: SimSocketOptions) {
    super({ allowHalfOpen: false });
    this.#kernel = kernel;
    this.#process = process;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.connecting = connect !== null;
    this.#onread = connect?.onread;
    this.#kill = process.onKill(() => this.#closeInKernel(dropsAtDeath && !this.connecting));
  }

  /** It has all that the product uses of a Socket. */
  get asSocket(): Socket {
    return this as unknown as Socket;
  }

  /** For the kernel: the connection stands. */
  connected(): void {
    if (!this.#isInUse) return;
    this.connecting = false;
    this.emit('connect');
  }

  /** For the kernel. */
  arrived(bytes: Buffer): void {
    if (!this.#isInUse) return;
    this.bytesRead += bytes.length;
    if (this.#onread !== undefined) this.#hand(bytes, this.#onread);
    else {
      this.#received.push(bytes);
      this.#pump();
    }
  }

  /** For the kernel: the peer sends no more. */
  ended(): void {
    if (!this.#isInUse) return;
    this.#hasEnd = true;
    this.#pump();
  }

  /** For the kernel: there is no such connection any more. */
  failed(code: string): void {
    if (!this.#isInUse) return;
    this.destroy(errorOf(code, this.connecting ? 'connect' : 'read'));
  }

  /** For the kernel: the send buffer takes more. */
  hasRoom(): void {
    if (this.#isInUse) this.#send();
  }

  resetAndDestroy(): this {
    if (!this.#isClosed && !this.connecting) this.#closeInKernel(true);
    return this.destroy();
  }

  setTimeout(timeoutMs: number, run?: () => void): this {
    this.#idle?.cancel();
    this.#idle = timeoutMs === 0 ? null : this.#process.after(timeoutMs, () => run?.());
    return this;
  }

  override _read(): void {
    this.#isWanted = true;
    this.#pump();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#unsent = { bytes: chunk, at: 0, done };
    this.#send();
  }

  override _final(done: () => void): void {
    if (this.#isInUse) this.#kernel.finish();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#idle?.cancel();
    this.#kill.cancel();
    this.#closeInKernel();
    const unsent = this.#unsent;
    this.#unsent = null;
    unsent?.done();
    done(error);
  }

  get #isInUse(): boolean {
    return !this.#isClosed && this.#process.isAlive;
  }

  /** As close(2), and as the end of a process: what the program has not read is told to the peer by a reset. */
  #closeInKernel(isReset = false): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (isReset || this.#received.length > 0) this.#kernel.reset();
    else this.#kernel.finish();
    this.#kernel.closed();
  }

  /** As the option of node:net has it: everything goes through one buffer, which is used again at once. */
  #hand(bytes: Buffer, onread: NonNullable<TcpSocketConnectOpts['onread']>): void {
    const { buffer } = onread;
    const into = (typeof buffer === 'function' ? buffer() : buffer) as Buffer;
    for (let at = 0; at < bytes.length;) {
      const lengthBytes = bytes.copy(into, 0, at, Math.min(bytes.length, at + into.length));
      onread.callback(lengthBytes, into);
      into.fill(0xdd, 0, lengthBytes);
      at += lengthBytes;
    }
    this.#kernel.consumed(bytes.length);
  }

  #pump(): void {
    while (this.#isWanted && this.#isInUse) {
      const bytes = this.#received.shift();
      if (bytes === undefined) break;
      this.#kernel.consumed(bytes.length);
      this.#isWanted = this.push(bytes);
    }
    if (!this.#hasEnd || this.#received.length > 0 || !this.#isInUse) return;
    this.#hasEnd = false;
    this.push(null);
    // Without this nobody would hear of the end before somebody reads.
    this.read(0);
  }

  /** Copies only what the send buffer takes, when it takes it: until then the bytes are looked at where they lie. */
  #send(): void {
    const unsent = this.#unsent;
    if (unsent === null || !this.#isInUse) return;
    const { bytes, at } = unsent;
    const lengthBytes = Math.min(bytes.length - at, this.#kernel.roomBytes);
    if (lengthBytes > 0) this.#kernel.send(Buffer.from(bytes.subarray(at, at + lengthBytes)));
    unsent.at += lengthBytes;
    if (unsent.at < bytes.length) return;
    this.#unsent = null;
    unsent.done();
  }
}
