import { createRequire } from 'node:module';
import { arch, platform } from 'node:os';
import { getSystemErrorName } from 'node:util';

/** The systems whose numbers and structures are known here. */
export type SystemName = 'linux' | 'freebsd';

/** A number, a 64-bit number, or memory that the call reads or fills. */
export type NativeArgument = number | bigint | Buffer;

export type NativeFunction = (...args: NativeArgument[]) => number | bigint;

/**
 * The C library, for the few calls that Node has no name for, or too long a way to. `call` and `callAsync` give what the
 * function returned, or throw an Error with `code` as Node's own file errors have it. The call reads and fills the buffers
 * that it is given, so they belong to it until it is done.
 */
export interface Native {
  readonly system: SystemName;
  call(name: NativeName, ...args: readonly NativeArgument[]): number;
  /** On a thread of the pool, for what may take long. */
  callAsync(name: NativeName, ...args: readonly NativeArgument[]): Promise<number>;
  /**
   * The function itself, for one that is called so often that finding it counts: V8 knows then which it calls. When it
   * returns a negative number `failure` tells why.
   */
  function(name: NativeName): NativeFunction;
  /** The error of a call of this thread that has failed just now. */
  failure(name: NativeName): Error;
  /** Where the memory of `buffer` lies; it stays there as long as the buffer lives. */
  addressOf(buffer: Buffer): number;
}

interface Signature {
  readonly result: string;
  readonly parameters: readonly string[];
}

/** Only for systems with 64-bit pointers and off_t, see loadNative. */
const SIGNATURES = {
  flock: { result: 'int', parameters: ['int', 'int'] },
  lseek: { result: 'int64', parameters: ['int', 'int64', 'int'] },
  fallocate: { result: 'int', parameters: ['int', 'int', 'int64', 'int64'] },
  fspacectl: { result: 'int', parameters: ['int', 'int', 'void *', 'int', 'void *'] },
  // In C its last parameter is an ellipsis, which koffi can't call on another thread. In the calling conventions of the
  // systems that loadNative lets through, a pointer goes the same way in either form.
  ioctl: { result: 'int', parameters: ['int', 'ulong', 'void *'] },
  // glibc from 2.26 on, musl from 1.2.5 on.
  preadv2: { result: 'int64', parameters: ['int', 'void *', 'int', 'int64', 'int'] },
  sched_yield: { result: 'int', parameters: [] },
  // Memory by its address, which takes less time than a Buffer does.
  read: { result: 'int64', parameters: ['int', 'uintptr_t', 'size_t'] },
  write: { result: 'int64', parameters: ['int', 'uintptr_t', 'size_t'] },
  pread: { result: 'int64', parameters: ['int', 'uintptr_t', 'size_t', 'int64'] },
  pwrite: { result: 'int64', parameters: ['int', 'uintptr_t', 'size_t', 'int64'] },
  poll: { result: 'int', parameters: ['void *', 'ulong', 'int'] },
  setsockopt: { result: 'int', parameters: ['int', 'int', 'int', 'void *', 'uint32'] },
  getsockopt: { result: 'int', parameters: ['int', 'int', 'int', 'void *', 'void *'] },
} as const satisfies Record<string, Signature>;

export type NativeName = keyof typeof SIGNATURES;

type Callback = (error: Error | null, result: number | bigint) => void;

interface KoffiFunction {
  (...args: unknown[]): number | bigint;
  async(...args: unknown[]): void;
}

/** What is used of koffi. Written down here because the package may be absent. */
interface Koffi {
  load(path: null): { func(name: string, result: string, parameters: readonly string[]): KoffiFunction };
  errno(): number;
  address(buffer: Buffer): bigint;
}

let loaded: Native | null | undefined;

/**
 * The C library, or null where it can't be reached: koffi is an optional dependency, its binaries cover the usual
 * systems only, and GGMIRROR_NO_FFI=1 turns it off. Every caller has another way, or a capability that is then false.
 */
export function native(): Native | null {
  if (process.env['GGMIRROR_NO_FFI'] === '1') return null;
  if (loaded === undefined) loaded = loadNative();
  return loaded;
}

function loadNative(): Native | null {
  const system = platform();
  if (system !== 'linux' && system !== 'freebsd') return null;
  // The request numbers of ioctl differ on MIPS, PowerPC and SPARC, and off_t on 32-bit systems.
  if (!['x64', 'arm64', 'riscv64', 'loong64'].includes(arch())) return null;
  try {
    return new KoffiNative(system, createRequire(import.meta.url)('koffi') as Koffi);
  } catch {
    return null; // Not installed, or without a binary for this system.
  }
}

class KoffiNative implements Native {
  readonly #library: ReturnType<Koffi['load']>;
  readonly #functions = new Map<NativeName, KoffiFunction>();

  constructor(
    readonly system: SystemName,
    private readonly koffi: Koffi,
  ) {
    this.#library = koffi.load(null);
  }

  call(name: NativeName, ...args: readonly NativeArgument[]): number {
    return this.#checked(name, this.function(name)(...args));
  }

  callAsync(name: NativeName, ...args: readonly NativeArgument[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const done: Callback = (error, result) => {
        try {
          if (error !== null) throw error;
          // koffi makes the errno of its thread readable inside this callback, and only here.
          resolve(this.#checked(name, result));
        } catch (cause) {
          reject(cause instanceof Error ? cause : new Error(String(cause)));
        }
      };
      this.function(name).async(...args, done);
    });
  }

  addressOf(buffer: Buffer): number {
    return Number(this.koffi.address(buffer));
  }

  #checked(name: NativeName, result: number | bigint): number {
    if (Number(result) >= 0) return Number(result);
    throw this.failure(name);
  }

  failure(name: NativeName): Error {
    return systemError(name, this.koffi.errno());
  }

  function(name: NativeName): KoffiFunction {
    const known = this.#functions.get(name);
    if (known !== undefined) return known;
    const { result, parameters } = SIGNATURES[name];
    const made = this.#find(name, result, parameters);
    this.#functions.set(name, made);
    return made;
  }

  #find(name: NativeName, result: string, parameters: readonly string[]): KoffiFunction {
    try {
      return this.#library.func(name, result, parameters);
    } catch (cause) {
      // FreeBSD has fspacectl from 14 on; fallocate is Linux's.
      throw Object.assign(new Error(`${name}: not in this system's C library`, { cause }), {
        code: 'EOPNOTSUPP',
      });
    }
  }
}

function systemError(name: string, errnoNumber: number): Error {
  const code = getSystemErrorName(-errnoNumber);
  return Object.assign(new Error(`${name}: ${code}`), { code, errno: -errnoNumber, syscall: name });
}
