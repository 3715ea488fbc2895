import type { Host } from './host.js';

/** Which hosts' disks are components, as far as the operator knows. Hosts are given by index. */
export class Roster {
  readonly #members: Set<number>;
  /** How many commands about them are under way. */
  readonly #underWay = new Map<number, number>();
  /** A command about them has failed, or was cut off, and nobody knows what of it was written. */
  readonly #uncertain = new Set<number>();
  /** The mirror said that they are none. */
  readonly #denied = new Set<number>();

  constructor(private readonly hosts: readonly Host[]) {
    this.#members = new Set(hosts.keys());
  }

  /** Those that are components for certain. */
  get certain(): readonly number[] {
    return [...this.#members].filter((index) => !this.#uncertain.has(index) && !this.#underWay.has(index));
  }

  /** To be named when the mirror is started. */
  get named(): readonly number[] {
    const mayBe = (index: number): boolean =>
      this.#members.has(index) || this.#uncertain.has(index) || this.#underWay.has(index);
    return [...this.hosts.keys()].filter((index) => mayBe(index) && !this.#denied.has(index));
  }

  /** The only one to be named, since another one is none though the last command about it may say so; null if there are more. */
  get lastNamed(): number | null {
    const [first, ...others] = this.named;
    return first !== undefined && others.length === 0 && this.#denied.size > 0 ? first : null;
  }

  begins(indexes: readonly number[]): void {
    for (const index of indexes) this.#underWay.set(index, (this.#underWay.get(index) ?? 0) + 1);
  }

  ends(indexes: readonly number[]): void {
    for (const index of indexes) {
      const count = this.#underWay.get(index) ?? 0;
      if (count > 1) this.#underWay.set(index, count - 1);
      else this.#underWay.delete(index);
    }
  }

  doubt(indexes: readonly number[]): void {
    for (const index of indexes) this.#uncertain.add(index);
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

  /** The mirror has ended, and with it whatever was under way. */
  ended(): void {
    this.doubt([...this.#underWay.keys()]);
    this.#underWay.clear();
  }

  /** The mirror runs, with these. */
  started(components: readonly number[]): void {
    this.#members.clear();
    for (const index of components) this.#members.add(index);
    this.#uncertain.clear();
    this.#denied.clear();
  }
}
