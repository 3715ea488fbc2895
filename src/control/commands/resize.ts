import type { ResizeOptions } from '../../mirror/start/resize.js';
import type { Fields } from '../control-protocol.js';
import type { ControlCommand } from './command.js';
import { numberField } from './command.js';

interface ResizeRequest {
  /** Null for all that the components have room for. */
  readonly size: ResizeOptions['size'];
}

/** A mirror in use becomes as large as its components, which have grown, have room for. */
export const resizeCommand: ControlCommand<ResizeRequest> = {
  parse({ size: wanted }) {
    if (typeof wanted !== 'object' || wanted === null) return { size: null };
    const size: Fields = { ...wanted };
    const count = numberField(size, 'count', { min: 1, max: Number.MAX_SAFE_INTEGER });
    return { size: { count, unit: size.unit === 'sectors' ? 'sectors' : 'bytes' } };
  },
  run: (running, { size }) => running.resize(size),
};
