import type { Host } from './host.js';

/** Which hosts' disks are components, as far as the operator knows. Hosts are given by index. */
export class Roster {
  readonly #members: Set<number>;
  /** A command about them was begun, and they may be components or not after a crash. */
  readonly #uncertain = new Set<number>();
  /** The mirror said that they are none. */
  readonly #denied = new Set<number>();

  constructor(private readonly hosts: readonly Host[]) {
    this.#members = new Set(hosts.keys());
  }

  /** Those that are components for certain. */
  get certain(): readonly number[] {
    return [...this.#members].filter((index) => !this.#uncertain.has(index));
  }

  /** Those that are none for certain. */
  get outsiders(): readonly number[] {
    return [...this.hosts.keys()].filter((index) => !this.#members.has(index) && !this.#uncertain.has(index));
  }

  /** To be named when the mirror is started. */
  get named(): readonly number[] {
    const isNamed = (index: number): boolean =>
      (this.#members.has(index) || this.#uncertain.has(index)) && !this.#denied.has(index);
    return [...this.hosts.keys()].filter(isNamed);
  }

  begins(index: number): void {
    this.#uncertain.add(index);
  }

  joined(index: number): void {
    this.#members.add(index);
    this.#uncertain.delete(index);
  }

  left(index: number): void {
    this.#members.delete(index);
    this.#uncertain.delete(index);
  }

  /** A start was refused for one that is none. False if it must be one. */
  deny(name: string): boolean {
    const index = this.hosts.findIndex((host) => host.name === name);
    if (!this.#uncertain.has(index)) return false;
    this.#denied.add(index);
    return true;
  }

  /** The mirror runs, with these. */
  started(components: readonly number[]): void {
    this.#members.clear();
    for (const index of components) this.#members.add(index);
    this.#uncertain.clear();
    this.#denied.clear();
  }
}
