import { assert } from '../../protocol/errors.js';
import type { ByteRange } from '../../protocol/geometry.js';

/** A request that is at the device. */
export interface Flight extends ByteRange {
  /** Whether it changes its range. */
  readonly isChange: boolean;
  /** Where it is in the list; the list's own. */
  flightIndex: number;
}

const overlap = (one: ByteRange, other: ByteRange): boolean =>
  one.offsetBytes < other.offsetBytes + other.lengthBytes &&
  other.offsetBytes < one.offsetBytes + one.lengthBytes;

/**
 * What one session has at its device, to find out what must not be started yet: a device may do what it has at once in
 * any order, and a client of ggate may count on its reads and writes being done one after the other. As many entries as
 * the window has, so looking at each is quick.
 */
export class InFlight<Request extends Flight> {
  readonly #flights: Request[] = [];
  #changes = 0;

  get count(): number {
    return this.#flights.length;
  }

  /** For looking only. */
  get all(): readonly Request[] {
    return this.#flights;
  }

  /** Whether something must be done first: two of which one changes what the other touches. */
  blocks(request: Flight): boolean {
    if (request.lengthBytes === 0) return false;
    if (this.#changes === 0 && !request.isChange) return false;
    return this.#flights.some((flight) => (flight.isChange || request.isChange) && overlap(flight, request));
  }

  add(request: Request): void {
    request.flightIndex = this.#flights.length;
    this.#flights.push(request);
    if (request.isChange) this.#changes += 1;
  }

  remove(request: Request): void {
    const { flightIndex } = request;
    assert(this.#flights[flightIndex] === request, 'session: a request ended that is not under way');
    const last = this.#flights.pop();
    if (last !== undefined && last !== request) {
      this.#flights[flightIndex] = last;
      last.flightIndex = flightIndex;
    }
    if (request.isChange) this.#changes -= 1;
  }
}
