import { DeviceError } from '../../device/block-device.js';
import { messageOf } from '../../protocol/errors.js';
import { NO_UUID, SLOT_COUNT, type Uuid } from '../../protocol/superblock.js';
import type { Component, ComponentMedia } from '../component.js';
import { labelIdOf, newUuid } from '../ids.js';
import { MembershipError } from './membership-error.js';
import type { Mirror } from '../mirror.js';
import { checkNewcomer, writeNewcomer, type Newcomer } from './newcomer.js';
import { openComponent } from '../start/open-component.js';
import type { OpenedProvider, ProviderOpener } from '../area/provider.js';
import { Turns } from '../turns.js';

export interface InsertOptions {
  /** 0 to 255. */
  readonly priority: number;
  /** It becomes a component that is out of use. */
  readonly isInactive: boolean;
  /** The only name under which the kernel is to take it; empty for any. */
  readonly hardcodedProvider: string;
  /** Says why the provider must not be written over, a whole line; null if it may. */
  readonly objection: (opened: OpenedProvider) => Promise<string | null>;
}

/** Which provider is which component. */
export interface ProviderTable {
  take(slot: number, opener: ProviderOpener, media: ComponentMedia): void;
  release(slot: number): void;
  /** Wipes label and private area of a component that is not connected. */
  erase(component: Component): Promise<void>;
}

/** A component whose label or private area is still there, and why. */
export interface NotErased {
  readonly name: string;
  readonly why: string;
}

/**
 * Who is a component of a running mirror, and who of them is in use: what `insert`, `remove`, `deactivate`, `activate`,
 * `forget` and `destroy` do, one at a time. Rejects with MembershipError, in gmirror's words where it has them, and with
 * DeviceError; a crash at any point leaves the old or the new membership.
 */
export class Membership {
  readonly #turns = new Turns();

  constructor(
    private readonly mirror: Mirror,
    private readonly assembly: ProviderTable,
  ) {}

  /** A new component misses everything; resolves when its copy has begun. */
  insert(opener: ProviderOpener, options: InsertOptions): Promise<void> {
    return this.#turns.run(async () => {
      const { mirror } = this;
      const { name } = opener;
      if (mirror.components.some((one) => one.name === name)) {
        throw new MembershipError(`Provider ${name} already inserted.`);
      }
      this.#requireAllConnected('Not all disks connected.');
      const newcomer = this.#newcomer(options);
      const opened = await opener.open();
      try {
        await checkNewcomer(name, opened, mirror);
        const objection = await options.objection(opened);
        if (objection !== null) throw new MembershipError(objection);
        await writeNewcomer(opened, mirror, newcomer, mirror.components.length + 1);
      } finally {
        await Promise.allSettled([opened.device.close(), opened.area?.close()]);
      }
      await this.#join(opener, newcomer);
    });
  }

  /** Takes a component out for good and wipes its label and private area, not its data. */
  remove(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      const { mirror } = this;
      this.#requireMember(component);
      this.#requireAllConnected(`Not all disks connected. Try 'forget' command first.`);
      component.isLeaving = true;
      try {
        await this.#release(component, 'remove');
        await mirror.journal.changeMembers({ leave: [component] });
      } catch (error) {
        component.isLeaving = false;
        throw error;
      }
      mirror.options.events.changed('removed', component, null);
      const notErased = await this.#erase(component);
      this.assembly.release(component.identity.slot);
      if (notErased === null) return;
      throw new MembershipError(
        `${component.name} was removed, but its label could not be wiped (${notErased.why}); ` +
          `'ggmirror clear' does it later`,
      );
    });
  }

  /** Those that are not connected are no components any more. Resolves with their names. */
  forget(): Promise<string[]> {
    return this.#turns.run(async () => {
      const { components, journal, options } = this.mirror;
      const leave = components.filter((component) => !component.isConnected);
      if (leave.length === 0) return [];
      for (const component of leave) component.isLeaving = true;
      try {
        await journal.changeMembers({ leave });
      } catch (error) {
        for (const component of leave) component.isLeaving = false;
        throw error;
      }
      for (const component of leave) {
        options.events.changed('forgotten', component, null);
        this.assembly.release(component.identity.slot);
      }
      return leave.map(({ name }) => name);
    });
  }

  /** What it misses from now on is remembered, and activate() copies that. */
  deactivate(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      const { mirror } = this;
      this.#requireMember(component);
      if (component.isInactive) return;
      this.#requireOther(component, 'deactivate');
      // What is flushed now need not be copied again. Who fails it is dropped.
      await mirror.flushAll().catch(() => undefined);
      component.isInactive = true;
      try {
        await mirror.journal.writeAll();
        await this.#release(component, 'deactivate');
      } catch (error) {
        component.isInactive = false;
        await mirror.journal.writeAll().catch(() => undefined /* the error that is thrown tells more */);
        throw error;
      }
      mirror.options.events.changed('deactivated', component, null);
    });
  }

  /** It may come back. */
  activate(component: Component): Promise<void> {
    return this.#turns.run(async () => {
      this.#requireMember(component);
      if (!component.isInactive) return;
      component.isInactive = false;
      try {
        await this.mirror.journal.writeAll();
      } catch (error) {
        component.isInactive = true;
        throw error;
      }
      this.mirror.options.events.changed('activated', component, null);
    });
  }

  /** When the mirror has ended: wipes labels and private areas. Resolves with those that could not be wiped. */
  eraseAll(): Promise<NotErased[]> {
    return this.#turns.run(async () => {
      const all = await Promise.all(this.mirror.components.map((component) => this.#erase(component)));
      return all.filter((end) => end !== null);
    });
  }

  #newcomer({ priority, isInactive, hardcodedProvider }: InsertOptions): Newcomer {
    const { components } = this.mirror;
    const used = components.map(({ identity }) => identity.slot);
    const slot = Array.from({ length: SLOT_COUNT }, (_, index) => index).find((one) => !used.includes(one));
    if (slot === undefined)
      throw new MembershipError(
        `${this.mirror.options.name}: a mirror has at most ${SLOT_COUNT} components.`,
      );
    return {
      slot,
      uuid: this.#freshUuid(),
      before: this.#freshUuid(),
      priority,
      isInactive,
      hardcodedProvider,
    };
  }

  /** The kernel knows only the first four bytes, and refuses two components with one id. */
  #freshUuid(): Uuid {
    const { components, options } = this.mirror;
    const ids = components.map(({ identity }) => labelIdOf(identity.uuid));
    for (;;) {
      const uuid = newUuid(options.random);
      if (uuid !== NO_UUID && !ids.includes(labelIdOf(uuid))) return uuid;
    }
  }

  /** Opens it as the component that it is now, which may be called by the whole mirror. */
  async #join(opener: ProviderOpener, newcomer: Newcomer): Promise<void> {
    const { mirror } = this;
    const found = await openComponent(await opener.open());
    if (found.state === 'bare') await found.close();
    if (found.state !== 'ok')
      throw new MembershipError(`Cannot store metadata on ${opener.name}. (it ${found.why})`);
    const { media, superblock } = found;
    const { uuid, slot, before, priority, isInactive } = newcomer;
    const { name, isLocal, timeoutMs } = opener;
    const component = mirror.newComponent({
      ...{ uuid, slot, name, priority, isLocal },
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    component.isFull = true;
    component.isInactive = isInactive;
    component.missing.markAll();
    component.settings = { hardcodedProvider: newcomer.hardcodedProvider };
    try {
      await mirror.journal.changeMembers({ joins: { component, lostAt: before }, leave: [] });
    } catch (error) {
      await media.close();
      throw error;
    }
    this.assembly.take(slot, opener, media);
    mirror.options.events.changed('inserted', component, null);
    if (isInactive) await media.close();
    else await mirror.arrive(component, { media, superblock, touch: null });
  }

  /** It is lost on purpose. */
  async #release(component: Component, what: 'remove' | 'deactivate'): Promise<void> {
    this.#requireOther(component, what);
    const why = new DeviceError('DEVICE_CLOSED', 'ENXIO', what === 'remove' ? 'removed' : 'deactivated');
    this.mirror.drop(component, why);
    // The others may have failed since.
    if (component.isConnected) throw this.#lastActive(component, what);
    await this.mirror.lossesRecorded();
  }

  /** It may have been forgotten while this waited for its turn, and its slot and its provider be another component's. */
  #requireMember(component: Component): void {
    if (this.mirror.components.includes(component)) return;
    throw new MembershipError(`${component.name} was taken out of the mirror meanwhile; nothing was done.`);
  }

  #requireAllConnected(message: string): void {
    const absent = this.mirror.components.filter((component) => !component.isConnected);
    if (absent.length === 0) return;
    throw new MembershipError(`${message} (${absent.map(({ name }) => name).join(', ')})`);
  }

  #requireOther(component: Component, what: 'remove' | 'deactivate'): void {
    const isOther = (one: Component): boolean => one !== component && one.state === 'ACTIVE';
    if (!this.mirror.components.some(isOther)) throw this.#lastActive(component, what);
  }

  #lastActive({ name }: Component, what: 'remove' | 'deactivate'): MembershipError {
    return new MembershipError(
      `${this.mirror.options.name}: Can't ${what} the last ACTIVE component ${name}.`,
    );
  }

  /** Null when label and private area are gone. Never before nothing else can reach the medium. */
  async #erase(component: Component): Promise<NotErased | null> {
    const { name } = component;
    try {
      await this.#closed(component);
      await this.assembly.erase(component);
      return null;
    } catch (error) {
      return { name, why: messageOf(error) };
    }
  }

  async #closed(component: Component): Promise<void> {
    const { clock, timeoutMs } = this.mirror.options;
    await new Promise<void>((resolve, reject) => {
      const timer = clock.after(timeoutMs, () => {
        reject(new MembershipError('it does not answer, and may still be writing'));
      });
      component.closing.then(() => {
        timer.cancel();
        resolve();
      }, reject);
    });
  }
}
