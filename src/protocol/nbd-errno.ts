import type { ErrnoName } from './errno.js';

/** The only numbers that NBD's wire knows, on every system. Source: NBD protocol, "Error values". */
export const NBD_ERRNO = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export type NbdErrnoName = keyof typeof NBD_ERRNO;

/**
 * What an error of ours is called there. ENOTSUP is no answer to anything but a fast zero, so a device's EOPNOTSUPP is
 * EINVAL: the client should not have asked for it.
 */
const FROM_OURS: Partial<Record<ErrnoName, NbdErrnoName>> = {
  EPERM: 'EPERM',
  EACCES: 'EPERM',
  EROFS: 'EPERM',
  ENOMEM: 'ENOMEM',
  EINVAL: 'EINVAL',
  EOPNOTSUPP: 'EINVAL',
  ENOSPC: 'ENOSPC',
  EDQUOT: 'ENOSPC',
  EFBIG: 'ENOSPC',
  ESHUTDOWN: 'ESHUTDOWN',
};

/** The name on NBD's wire; EIO for what it has no name for. */
export const toNbdErrno = (name: ErrnoName): NbdErrnoName => FROM_OURS[name] ?? 'EIO';
