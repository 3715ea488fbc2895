import { EventEmitter } from 'node:events';
import type { SessionStream } from '../../src/server/stream/byte-stream.js';

/**
 * One connection of a session without a network: a test says what comes in, and looks at what went out. What is written
 * counts as taken at once, unless `isSlow`; then take() does it.
 */
export class FakeStream extends EventEmitter implements SessionStream {
  isSlow = false;
  destroyed = false;
  /** Each write to it, as one: what a cork holds together is one. */
  readonly sends: Buffer[] = [];
  hasEnded = false;
  isPaused = true;
  #isFlowing = false;
  #corked: Buffer[] | null = null;
  #untaken: { readonly lengthBytes: number; readonly sent: (() => void) | undefined }[] = [];
  readonly #waiting: Buffer[] = [];

  get output(): Buffer {
    return Buffer.concat(this.sends);
  }

  get writableLength(): number {
    return this.#untaken.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  }

  cork(): void {
    this.#corked = [];
  }

  uncork(): void {
    if (this.#corked !== null) this.sends.push(Buffer.concat(this.#corked));
    this.#corked = null;
  }

  write(bytes: Uint8Array, sent?: (error?: Error | null) => void): void {
    if (this.destroyed) {
      queueMicrotask(() => sent?.(new Error('closed')));
      return;
    }
    (this.#corked ?? this.sends).push(Buffer.from(bytes));
    if (this.isSlow) this.#untaken.push({ lengthBytes: bytes.length, sent });
    else queueMicrotask(() => sent?.());
  }

  /** The client takes what was sent so far. */
  take(): void {
    for (const { sent } of this.#untaken.splice(0)) sent?.();
  }

  /** Something arrives; while nobody wants to read it, it waits. */
  deliver(bytes: Buffer): void {
    this.#waiting.push(Buffer.from(bytes));
    this.#flow();
  }

  /** The client closes its side. */
  finish(): void {
    if (this.isPaused) this.once('resumed', () => this.emit('end'));
    else this.emit('end');
  }

  get waitingCount(): number {
    return this.#waiting.length;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    this.#flow();
    if (this.#waiting.length === 0) this.emit('resumed');
  }

  end(): void {
    this.hasEnded = true;
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    for (const { sent } of this.#untaken.splice(0)) sent?.();
    queueMicrotask(() => this.emit('close'));
  }

  /** A listener that pauses and resumes does not make this run inside itself. */
  #flow(): void {
    if (this.#isFlowing) return;
    this.#isFlowing = true;
    while (!this.isPaused && this.#waiting.length > 0) this.emit('data', this.#waiting.shift());
    this.#isFlowing = false;
  }
}
