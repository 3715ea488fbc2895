import type { Component } from './component.js';

/** The components of a mirror, by what they do at the moment; kept when states change, for the data path. */
export class ComponentSet {
  /** Highest priority first. */
  readonly all: readonly Component[];
  /** Those that take writes. */
  targets: readonly Component[] = [];
  /** Those that miss what is written. */
  absent: readonly Component[] = [];
  /** Those to read from. */
  active: readonly Component[] = [];

  constructor(components: readonly Component[]) {
    this.all = [...components].sort((one, other) => other.identity.priority - one.identity.priority);
  }

  statesChanged(): void {
    this.targets = this.all.filter((component) => component.takesWrites);
    this.absent = this.all.filter((component) => !component.takesWrites);
    this.active = this.all.filter((component) => component.state === 'ACTIVE');
  }
}
