import { errnoName, type ErrnoName } from '../protocol/errno.js';
import { DeviceError, type BlockOp } from './block-device.js';

/** What an administrator can do about an errno. Only those where more than the name can be said. */
const ADVICE: Partial<Record<ErrnoName, string>> = {
  EACCES: 'check its permissions and who runs this',
  EBADF: 'it was opened in another mode',
  EBUSY: 'something else uses it: a mount, a mirror or another server',
  EDQUOT: 'raise the quota',
  EFBIG: 'raise the limit on file sizes',
  EIO: "check the disk and the kernel's log",
  EISDIR: 'name an image file or a disk',
  ENOENT: 'check the path',
  ENOSPC: 'make room on its file system',
  ENXIO: 'the disk is gone; check its cable or its driver',
  EPERM: 'check its file flags and who runs this',
  EROFS: 'it is read-only; open it as such',
  ETXTBSY: 'it runs as a program or is in use as swap',
};

/** The errno of what Node's `fs` threw, by its FreeBSD name; EIO for what isn't an error with a code. */
export function errnoOf(cause: unknown): ErrnoName {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return errnoName(typeof code === 'string' ? code : undefined);
}

/** Of a request that failed. `name` is the device's, `lengthBytes` is 0 for a flush. */
export function requestError(
  name: string,
  failed: { readonly op: BlockOp; readonly offsetBytes: number; readonly lengthBytes: number },
  errno: ErrnoName,
  cause?: unknown,
): DeviceError {
  const what = failed.op === 'flush' ? 'flush' : `${failed.op} of ${failed.lengthBytes} bytes`;
  const where = failed.op === 'flush' ? '' : ` at byte ${failed.offsetBytes}`;
  return new DeviceError('DEVICE_IO', errno, `${name}: ${what}${where} failed: ${explain(errno)}`, { cause });
}

/** Of something that can't be opened, or can't serve as a disk: DEVICE_OPEN. `what` is a clause without its subject. */
export function openError(path: string, errno: ErrnoName, what: string, cause?: unknown): DeviceError {
  return new DeviceError('DEVICE_OPEN', errno, `${path} ${what}: ${explain(errno)}`, { cause });
}

function explain(errno: ErrnoName): string {
  const advice = ADVICE[errno];
  return advice === undefined ? errno : `${errno}; ${advice}`;
}
