import type { Component } from './component.js';

/** The components of a mirror, by what they do at the moment; kept when states change, for the data path. */
export class ComponentSet {
  /** Highest priority first. */
  all: readonly Component[];
  /** Those that take writes. */
  targets: readonly Component[] = [];
  /** Those that miss what is written. */
  absent: readonly Component[] = [];
  /** Those to read from. */
  active: readonly Component[] = [];

  /** `changed`: components came or went, or stand in another order. */
  constructor(
    components: readonly Component[],
    private readonly changed: () => void,
  ) {
    this.all = inOrder(components);
  }

  add(component: Component): void {
    this.all = inOrder([...this.all, component]);
    this.changed();
  }

  remove(leaving: readonly Component[]): void {
    this.all = this.all.filter((component) => !leaving.includes(component));
    this.changed();
  }

  prioritiesChanged(): void {
    this.all = inOrder(this.all);
    this.changed();
  }

  statesChanged(): void {
    this.targets = this.all.filter((component) => component.takesWrites);
    this.absent = this.all.filter((component) => !component.takesWrites);
    this.active = this.all.filter((component) => component.state === 'ACTIVE');
  }
}

const inOrder = (components: readonly Component[]): Component[] =>
  [...components].sort((one, other) => other.identity.priority - one.identity.priority);
