import { DeviceError } from '../device/block-device.js';
import type { RandomSource } from '../device/random.js';
import { flush } from '../device/request.js';
import type { ExchangeableDevice } from '../device/wrappers/exchangeable.js';
import type { Mirror } from '../mirror/mirror.js';
import type { Conduct } from '../mirror/mirror-options.js';
import { AssembleError, type AssembledMirror } from '../mirror/start/assembled.js';
import type { ProviderOpener } from '../mirror/area/provider.js';
import { resizeMirror, type Resized, type ResizeOptions } from '../mirror/start/resize.js';
import { ResizeError } from '../mirror/start/resize-error.js';
import { messageOf } from '../protocol/errors.js';
import { ControlError } from './control-error.js';
import { RESIZE_SENT_BYTES_MAX } from './limits.js';

/** A mirror in use, as its resize sees it. */
export interface ResizeHost {
  /** Without 'mirror/'. */
  readonly name: string;
  /** What the mirror's users have, with the mirror behind it. */
  readonly device: ExchangeableDevice;
  readonly assembled: AssembledMirror;
  readonly random: RandomSource;
  /** No component comes back any more when this resolves. */
  rest(): Promise<void>;
  /** Starts the mirror anew, also without some components. */
  assemble(providers: readonly ProviderOpener[], conduct: Conduct): Promise<AssembledMirror>;
  /** The mirror is another object from now on. */
  replaced(assembled: AssembledMirror): void;
}

/**
 * Makes a mirror larger that is in use: its users' requests wait while it is stopped in good order, resized and started
 * again. So what a crash leaves at any point is what one of those leaves. Rejects with ControlError; the mirror runs on,
 * then, with its old size, unless it can't be started again: then what its users have fails, and that is an AssembleError
 * or a DeviceError.
 */
export async function resizeRunning(host: ResizeHost, size: ResizeOptions['size']): Promise<Resized> {
  const { name, device, assembled, random } = host;
  const { mirror } = assembled;
  requireAtRest(name, mirror);
  await device.hold();
  const unflushed = await flushed(mirror);
  if (unflushed !== null) {
    device.owe(unflushed);
    device.resume();
    throw new ControlError(
      `mirror/${name} could not be flushed, and was left as it is: ${unflushed.message}`,
    );
  }
  const { conduct } = mirror;
  const providers = openersOf(assembled);
  await host.rest();
  const resizing = assembled
    .close()
    .then(() => resizeMirror({ name, providers, size, random, sentBytesMax: RESIZE_SENT_BYTES_MAX }));
  // Whatever becomes of it, the mirror is there again before anybody is told.
  await resizing.catch(() => undefined);
  try {
    const again = await host.assemble(providers, conduct);
    host.replaced(again);
    device.resume(again.mirror);
  } catch (cause) {
    const message = `mirror/${name} could not be started again after its resize: ${messageOf(cause)}`;
    device.fail(new DeviceError('DEVICE_LOST', 'ENXIO', message, { cause }));
    throw cause;
  }
  return await resizing.catch((error: unknown) => {
    throw isToldToPeople(error) ? new ControlError(error.message, { cause: error }) : error;
  });
}

const isToldToPeople = (error: unknown): error is Error =>
  error instanceof DeviceError || error instanceof ResizeError || error instanceof AssembleError;

/** All components have everything, so the mirror can be stopped with nothing left to copy. */
function requireAtRest(name: string, { components, verification }: Mirror): void {
  const other = components.find(({ state, isCacheDoubtful }) => state !== 'ACTIVE' || isCacheDoubtful);
  if (other !== undefined) {
    const state = other.state === 'ACTIVE' ? 'in doubt' : other.state;
    throw new ControlError(
      `mirror/${name} is resized with all its components ACTIVE; ${other.name} is ${state}`,
    );
  }
  if (verification?.state === 'running')
    throw new ControlError(`mirror/${name} is being verified; 'ggmirror verify --stop ${name}' ends that`);
}

/** As its users see it: a failure that nobody was told of is told here. */
async function flushed(mirror: Mirror): Promise<DeviceError | null> {
  try {
    await flush(mirror);
    return null;
  } catch (error) {
    if (error instanceof DeviceError) return error;
    throw error;
  }
}

/** With the priorities that they have now, whatever the start had them have. */
const openersOf = ({ openers, mirror }: AssembledMirror): ProviderOpener[] =>
  openers().map((opener) => {
    const component = mirror.components.find((one) => one.name === opener.name);
    return component === undefined ? opener : { ...opener, priority: component.identity.priority };
  });

/**
 * While a mirror is resized nobody asks it anything else: who does is answered afterwards. And while it is stopped nobody
 * changes it.
 */
export class ResizeGate {
  /** Requests under way that may change something. */
  #underWay = 0;
  #resize: Promise<unknown> | null = null;
  #refusal: string | null = null;

  /** From now on all that would change something is refused with this sentence. */
  shut(refusal: string): void {
    this.#refusal = refusal;
  }

  /** Runs what was asked. Rejects with ControlError for a resize beside something else, and after shut(). */
  async pass<Answer>(command: string, run: () => Promise<Answer>): Promise<Answer> {
    // Another one that has waited, too, may have begun since.
    while (this.#resize !== null) await this.free();
    if (command === 'status' || command === 'stop') return await run();
    if (this.#refusal !== null) throw new ControlError(this.#refusal);
    if (command !== 'resize') {
      this.#underWay += 1;
      return await run().finally(() => (this.#underWay -= 1));
    }
    if (this.#underWay > 0)
      throw new ControlError('another command changes the mirror; try again when it has ended');
    const running = run();
    this.#resize = running;
    return await running.finally(() => (this.#resize = null));
  }

  /** Resolves when no resize is under way. */
  async free(): Promise<void> {
    while (this.#resize !== null) await this.#resize.catch(() => undefined);
  }
}
