/** After so many pieces in a row without an equal region asking does not pay. */
const IN_VAIN_MAX = 8;
/** Then one piece in so many is asked all the same: a medium may differ here and be equal there. */
const PROBE_EVERY = 16;

/**
 * Whether the target of a resync is asked for its checksums before a piece is copied. It saves the link what is equal: most
 * of a rebuild, most of the extents that are suspect after a crash. What a component has missed differs, and asking for
 * it costs both disks a read; so when asking was in vain for a while, it is left to a few probes.
 */
export class Asking {
  #inVain = 0;
  #notAsked = 0;

  shouldAsk(): boolean {
    if (this.#inVain < IN_VAIN_MAX) return true;
    this.#notAsked += 1;
    if (this.#notAsked < PROBE_EVERY) return false;
    this.#notAsked = 0;
    return true;
  }

  /** A piece was asked for, and any of its regions was equal, or none. */
  told(hasEqual: boolean): void {
    this.#inVain = hasEqual ? 0 : this.#inVain + 1;
  }
}
