/**
 * The one file that knows errno numbers. Inside, an errno is its name; on ggate's wire it is FreeBSD's number on every
 * system. Source: FreeBSD 12.1 sys/errno.h, checked against the ggate protocol spec, section 7.
 */
const FREEBSD = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  ECHILD: 10,
  EDEADLK: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  ENOTBLK: 15,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  EDOM: 33,
  ERANGE: 34,
  EAGAIN: 35,
  EINPROGRESS: 36,
  EALREADY: 37,
  ENOTSOCK: 38,
  EDESTADDRREQ: 39,
  EMSGSIZE: 40,
  EPROTOTYPE: 41,
  ENOPROTOOPT: 42,
  EPROTONOSUPPORT: 43,
  EOPNOTSUPP: 45,
  EAFNOSUPPORT: 47,
  EADDRINUSE: 48,
  EADDRNOTAVAIL: 49,
  ENETDOWN: 50,
  ENETUNREACH: 51,
  ENETRESET: 52,
  ECONNABORTED: 53,
  ECONNRESET: 54,
  ENOBUFS: 55,
  EISCONN: 56,
  ENOTCONN: 57,
  ESHUTDOWN: 58,
  ETIMEDOUT: 60,
  ECONNREFUSED: 61,
  ELOOP: 62,
  ENAMETOOLONG: 63,
  EHOSTDOWN: 64,
  EHOSTUNREACH: 65,
  ENOTEMPTY: 66,
  EUSERS: 68,
  EDQUOT: 69,
  ESTALE: 70,
  EREMOTE: 71,
  ENOLCK: 77,
  ENOSYS: 78,
  EFTYPE: 79,
  EAUTH: 80,
  ENEEDAUTH: 81,
  EIDRM: 82,
  ENOMSG: 83,
  EOVERFLOW: 84,
  ECANCELED: 85,
  EILSEQ: 86,
  ENOATTR: 87,
  EDOOFUS: 88,
  EBADMSG: 89,
  EMULTIHOP: 90,
  ENOLINK: 91,
  EPROTO: 92,
  ENOTCAPABLE: 93,
  ECAPMODE: 94,
  ENOTRECOVERABLE: 95,
  EOWNERDEAD: 96,
  EINTEGRITY: 97,
} as const;

export type ErrnoName = keyof typeof FREEBSD;

/** Names that Node or Linux use for what FreeBSD calls otherwise. */
const ALIASES: Readonly<Record<string, ErrnoName>> = {
  ENOTSUP: 'EOPNOTSUPP',
  ENODATA: 'ENOATTR',
  ETIME: 'ETIMEDOUT',
};

const NAMES = new Map<number, ErrnoName>(
  (Object.keys(FREEBSD) as ErrnoName[]).map((name) => [FREEBSD[name], name]),
);

export const isErrnoName = (name: string): name is ErrnoName => Object.hasOwn(FREEBSD, name);

/** FreeBSD's name for what an operating system or Node called `name`; EIO for what FreeBSD has no name for. */
export function errnoName(name: string | undefined): ErrnoName {
  if (name === undefined) return 'EIO';
  if (isErrnoName(name)) return name;
  return ALIASES[name] ?? 'EIO';
}

/**
 * The number for the wire. EAGAIN becomes EIO: a FreeBSD kernel takes 35 in a reply as "ask again" and repeats the
 * request at once, without limit (ggate protocol spec, section 7).
 */
export function toWireErrno(name: ErrnoName): number {
  return name === 'EAGAIN' ? FREEBSD.EIO : FREEBSD[name];
}

/** The name of a number from the wire; EIO for one that is no errno. Zero is "no error" and not asked for here. */
export function fromWireErrno(number: number): ErrnoName {
  return NAMES.get(number) ?? 'EIO';
}
