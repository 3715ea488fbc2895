import type { ErrnoName } from '../protocol/errno.js';

/** The texts that FreeBSD's strerror(3) has for what opening, reading and writing a provider can end in. */
const TEXTS: Partial<Record<ErrnoName, string>> = {
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EIO: 'Input/output error',
  ENXIO: 'Device not configured',
  EBADF: 'Bad file descriptor',
  EACCES: 'Permission denied',
  EBUSY: 'Device busy',
  ENODEV: 'Operation not supported by device',
  ENOTDIR: 'Not a directory',
  EISDIR: 'Is a directory',
  EINVAL: 'Invalid argument',
  EFBIG: 'File too large',
  ENOSPC: 'No space left on device',
  EROFS: 'Read-only file system',
  EPIPE: 'Broken pipe',
  EOPNOTSUPP: 'Operation not supported',
  EADDRNOTAVAIL: "Can't assign requested address",
  ENETUNREACH: 'Network is unreachable',
  ECONNRESET: 'Connection reset by peer',
  ENOTCONN: 'Socket is not connected',
  ETIMEDOUT: 'Operation timed out',
  ECONNREFUSED: 'Connection refused',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
  EHOSTDOWN: 'Host is down',
  EHOSTUNREACH: 'No route to host',
  ESTALE: 'Stale NFS file handle',
  EFTYPE: 'Inappropriate file type or format',
};

/** What a FreeBSD program says to an errno; its name where we have no text. */
export const strerror = (errno: ErrnoName): string => TEXTS[errno] ?? errno;
