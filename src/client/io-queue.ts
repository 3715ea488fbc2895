import type { BlockIo } from '../device/block-device.js';

/** A first-in first-out queue; its length is bounded by what its callers start. Array.shift() would be linear. */
export class IoQueue {
  #items: BlockIo[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(io: BlockIo): void {
    this.#items.push(io);
  }

  shift(): BlockIo | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head += 1;
    // Half of the array is spent: moving the rest costs less than it took to fill it.
    if (this.#head === this.#items.length) this.takeAll();
    else if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Empties the queue. */
  takeAll(): BlockIo[] {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }

  /** Takes out what matches, the order of the others kept. */
  takeWhere(matches: (io: BlockIo) => boolean): BlockIo[] {
    const all = this.takeAll();
    const taken: BlockIo[] = [];
    for (const io of all) (matches(io) ? taken : this.#items).push(io);
    return taken;
  }
}
