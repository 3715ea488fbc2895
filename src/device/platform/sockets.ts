import { native as systemNative, type Native } from './native.js';

/** Source: FreeBSD 12.1 sys/socket.h; Linux asm-generic/socket.h. */
const OPTIONS = {
  linux: { level: 1, send: 7, receive: 8, linger: 13 },
  freebsd: { level: 0xffff, send: 0x1001, receive: 0x1002, linger: 0x80 },
} as const;

/** Sizes of a socket's buffers; what is left out stays as it is. */
export interface SocketBuffers {
  readonly receiveBytes?: number;
  readonly sendBytes?: number;
}

/**
 * Sets SO_RCVBUF and SO_SNDBUF of a socket. Returns what the kernel made of them: Linux doubles the wish and cuts it to
 * net.core.rmem_max and wmem_max, FreeBSD refuses more than kern.ipc.maxsockbuf with ENOBUFS. Null when the C library
 * can't be reached: the system's own sizes stay, which adapt themselves. Throws an Error with `code`.
 */
export function setSocketBuffers(
  fd: number,
  wanted: SocketBuffers,
  native = systemNative(),
): Required<SocketBuffers> | null {
  if (native === null) return null;
  const { receive, send } = OPTIONS[native.system];
  if (wanted.receiveBytes !== undefined) setOption(native, fd, receive, wanted.receiveBytes);
  if (wanted.sendBytes !== undefined) setOption(native, fd, send, wanted.sendBytes);
  return { receiveBytes: getOption(native, fd, receive), sendBytes: getOption(native, fd, send) };
}

/**
 * From now on a connection that is closed, also by the end of a process that is killed, is reset: what the kernel has not
 * sent yet never is. Does nothing where the C library can't be reached. Throws an Error with `code`.
 */
export function dropUnsentAtClose(fd: number, native = systemNative()): void {
  if (native === null) return;
  // struct linger: it does linger, for no time at all.
  const memory = Buffer.alloc(8);
  memory.writeInt32LE(1, 0);
  native.call(
    'setsockopt',
    fd,
    OPTIONS[native.system].level,
    OPTIONS[native.system].linger,
    memory,
    memory.length,
  );
}

function setOption(native: Native, fd: number, option: number, value: number): void {
  const memory = Buffer.alloc(4);
  memory.writeInt32LE(value);
  native.call('setsockopt', fd, OPTIONS[native.system].level, option, memory, memory.length);
}

function getOption(native: Native, fd: number, option: number): number {
  const value = Buffer.alloc(4);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(value.length);
  native.call('getsockopt', fd, OPTIONS[native.system].level, option, value, size);
  return value.readInt32LE();
}
