import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { errnoName, isErrnoName } from '../../src/protocol/errno.js';
import { ProtocolError } from '../../src/protocol/errors.js';
import { NBD_COMMAND, NBD_TRANSMISSION_FLAG, hasBit } from '../../src/protocol/nbd.js';
import { NBD_ERRNO, toNbdErrno } from '../../src/protocol/nbd-errno.js';
import {
  decodeNbdClientFlags,
  decodeNbdInfoRequest,
  decodeNbdName,
  decodeNbdOptionHeader,
} from '../../src/protocol/nbd-options.js';
import {
  NBD_SHORT_REPLY_BYTES_MAX,
  encodeNbdErrorChunk,
  encodeNbdReadChunk,
  encodeNbdSimpleReply,
} from '../../src/protocol/nbd-reply.js';
import {
  NBD_REQUEST,
  decodeNbdRequest,
  encodeNbdRequest,
  nbdRefusalOf,
  type NbdRequestHeader,
  type NbdTerms,
} from '../../src/protocol/nbd-request.js';
import { infoRequest } from '../support/nbd-client.js';

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u16 = fc.integer({ min: 0, max: 2 ** 16 - 1 });
const headers = fc.record({
  flags: u16,
  command: u16,
  cookieHigh: u32,
  cookieLow: u32,
  offsetBytes: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  lengthBytes: u32,
});
const emptyHeader = (): NbdRequestHeader => ({
  flags: 0,
  command: 0,
  cookieHigh: 0,
  cookieLow: 0,
  offsetBytes: 0,
  lengthBytes: 0,
});

/** Either a value or a ProtocolError: nothing else may come of bytes from outside. */
function decodesOrRefuses(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
  }
}

describe('requests', () => {
  test('come out of their bytes as they went in, wherever they lie', () => {
    fc.assert(
      fc.property(headers, fc.integer({ min: 0, max: 40 }), (header, at) => {
        const bytes = Buffer.alloc(at + NBD_REQUEST.sizeBytes, 0xee);
        encodeNbdRequest(bytes, at, header);
        const decoded = emptyHeader();
        decodeNbdRequest(bytes, at, decoded);
        expect(decoded).toEqual(header);
      }),
    );
  });

  test('have their fields where the protocol puts them', () => {
    const bytes = Buffer.alloc(NBD_REQUEST.sizeBytes);
    encodeNbdRequest(bytes, 0, {
      flags: 1,
      command: 6,
      cookieHigh: 0x01020304,
      cookieLow: 0x05060708,
      offsetBytes: 0x1112131415,
      lengthBytes: 0x21222324,
    });
    expect(bytes.toString('hex')).toBe(
      '25609513' + '0001' + '0006' + '0102030405060708' + '0000001112131415' + '21222324',
    );
  });

  test('without the magic number end the connection', () => {
    const bytes = Buffer.alloc(NBD_REQUEST.sizeBytes, 0x25);
    expect(() => decodeNbdRequest(bytes, 0, emptyHeader())).toThrow(/starts with 0x25252525, no NBD magic/);
  });

  test('with an offset of 2^53 or more are decoded as behind every medium', () => {
    const bytes = Buffer.alloc(NBD_REQUEST.sizeBytes, 0xff);
    bytes.writeUInt32BE(0x25609513, 0);
    const header = emptyHeader();
    decodeNbdRequest(bytes, 0, header);
    expect(header.offsetBytes).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
  });
});

const FLAG = NBD_TRANSMISSION_FLAG;
const ALL_FLAGS = FLAG.sendFlush + FLAG.sendFua + FLAG.sendTrim + FLAG.sendWriteZeroes + FLAG.sendDf;
const terms = (transmissionFlags: number, canRead = true): NbdTerms => ({
  mediaSizeBytes: 67_108_864,
  sectorSizeBytes: 512,
  canRead,
  transmissionFlags,
});
const { read, write, flush, trim, writeZeroes } = NBD_COMMAND;

describe('a request that can be served', () => {
  test.each([
    { what: 'a read of the last sector', command: read, offsetBytes: 67_108_352, lengthBytes: 512 },
    { what: 'a read of 32 MiB', command: read, offsetBytes: 0, lengthBytes: 33_554_432 },
    { what: 'a write with FUA', command: write, offsetBytes: 512, lengthBytes: 512, flags: 1 },
    { what: 'a read with FUA and DF', command: read, offsetBytes: 512, lengthBytes: 512, flags: 5 },
    { what: 'a flush', command: flush, offsetBytes: 0, lengthBytes: 0 },
    { what: 'a trim of everything', command: trim, offsetBytes: 0, lengthBytes: 67_108_864 },
    { what: 'zeroes without a hole', command: writeZeroes, offsetBytes: 0, lengthBytes: 512, flags: 2 },
  ])('is $what', ({ command, offsetBytes, lengthBytes, flags = 0 }) => {
    expect(
      nbdRefusalOf({ ...emptyHeader(), command, offsetBytes, lengthBytes, flags }, terms(ALL_FLAGS)),
    ).toBeNull();
  });
});

describe('a request that is refused', () => {
  test.each([
    { what: 'a read of nothing', command: read, lengthBytes: 0, errno: 'EINVAL' },
    { what: 'a read of parts of sectors', command: read, lengthBytes: 100, errno: 'EINVAL' },
    { what: 'a write from inside a sector', command: write, offsetBytes: 100, errno: 'EINVAL' },
    { what: 'a read of more than 32 MiB', command: read, lengthBytes: 33_554_944, errno: 'EINVAL' },
    { what: 'a write of more than 32 MiB', command: write, lengthBytes: 33_554_944, errno: 'EINVAL' },
    { what: 'a read behind the end', command: read, offsetBytes: 67_108_864, errno: 'EINVAL' },
    {
      what: 'a write across the end',
      command: write,
      offsetBytes: 67_108_352,
      lengthBytes: 1024,
      errno: 'ENOSPC',
    },
    { what: 'a write whose end wraps', command: write, offsetBytes: 2 ** 64 - 512, errno: 'ENOSPC' },
    { what: 'zeroes behind the end', command: writeZeroes, offsetBytes: 67_108_864, errno: 'ENOSPC' },
    { what: 'a trim behind the end', command: trim, offsetBytes: 67_108_864, errno: 'EINVAL' },
    { what: 'a flush of a range', command: flush, errno: 'EINVAL' },
    { what: 'an unknown command', command: 99, errno: 'EINVAL' },
    { what: 'a cache request, which is not offered', command: 5, errno: 'EINVAL' },
    { what: 'an unknown flag', command: read, flags: 2 ** 15, errno: 'EINVAL' },
    { what: 'DF on a write', command: write, flags: 4, errno: 'EINVAL' },
    { what: 'no hole on a trim', command: trim, flags: 2, errno: 'EINVAL' },
    { what: 'fast zeroes, which are not offered', command: writeZeroes, flags: 16, errno: 'EINVAL' },
    { what: 'FUA that is not offered', command: write, flags: 1, without: FLAG.sendFua, errno: 'EINVAL' },
    { what: 'DF without structured replies', command: read, flags: 4, without: FLAG.sendDf, errno: 'EINVAL' },
    {
      what: 'a flush that is not offered',
      command: flush,
      lengthBytes: 0,
      without: FLAG.sendFlush,
      errno: 'EINVAL',
    },
    { what: 'a trim that is not offered', command: trim, without: FLAG.sendTrim, errno: 'EINVAL' },
    {
      what: 'zeroes that are not offered',
      command: writeZeroes,
      without: FLAG.sendWriteZeroes,
      errno: 'EINVAL',
    },
  ])('is $what: $errno', ({ command, offsetBytes = 0, lengthBytes = 512, flags = 0, without = 0, errno }) => {
    const header = { ...emptyHeader(), command, offsetBytes, lengthBytes, flags };
    expect(nbdRefusalOf(header, terms(ALL_FLAGS - without))).toBe(errno);
  });

  test.each([{ command: write }, { command: trim }, { command: writeZeroes }])(
    'is anything that would change a read-only export: EPERM (command $command)',
    ({ command }) => {
      expect(nbdRefusalOf({ ...emptyHeader(), command, lengthBytes: 512 }, terms(FLAG.readOnly))).toBe(
        'EPERM',
      );
    },
  );

  test('is a read of what can only be written: EPERM', () => {
    expect(nbdRefusalOf({ ...emptyHeader(), command: read, lengthBytes: 512 }, terms(ALL_FLAGS, false))).toBe(
      'EPERM',
    );
  });

  test('is everything that is not wholly inside the medium and in whole sectors', () => {
    fc.assert(
      fc.property(headers, (header) => {
        if (nbdRefusalOf(header, terms(ALL_FLAGS)) !== null || header.command === flush) return;
        expect(header.offsetBytes % 512 === 0 && header.lengthBytes % 512 === 0).toBe(true);
        expect(header.lengthBytes).toBeGreaterThan(0);
        expect(header.offsetBytes + header.lengthBytes).toBeLessThanOrEqual(67_108_864);
      }),
    );
  });
});

describe('replies', () => {
  const cookie = { cookieHigh: 0x0a0b0c0d, cookieLow: 0x01020304 };

  test('a simple one has magic, error and cookie', () => {
    const bytes = Buffer.alloc(20, 0xee);
    expect(encodeNbdSimpleReply(bytes, 2, cookie, 'ENOSPC')).toBe(16);
    expect(bytes.toString('hex')).toBe('eeee' + '67446698' + '0000001c' + '0a0b0c0d01020304' + 'eeee');
  });

  test('the chunk before data is the last one and says where they lie', () => {
    const bytes = Buffer.alloc(28);
    encodeNbdReadChunk(bytes, 0, { ...cookie, offsetBytes: 2 ** 40, lengthBytes: 4096 });
    expect(bytes.toString('hex')).toBe(
      '668e33ef' + '0001' + '0001' + '0a0b0c0d01020304' + '00001008' + '0000010000000000',
    );
  });

  test('an error chunk has a text of whole characters, which never exceeds its place', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 400 }), (text) => {
        const bytes = Buffer.alloc(NBD_SHORT_REPLY_BYTES_MAX);
        const sizeBytes = encodeNbdErrorChunk(bytes, 0, cookie, { errno: 'EIO', text });
        const textBytes = bytes.readUInt16BE(24);
        expect(bytes.readUInt32BE(16)).toBe(6 + textBytes);
        expect(sizeBytes).toBe(26 + textBytes);
        expect(
          Buffer.from(text)
            .toString()
            .startsWith(bytes.toString('utf8', 26, sizeBytes)),
        ).toBe(true);
      }),
    );
  });

  test('carry only the errno numbers that NBD knows', () => {
    const known = new Set(Object.keys(NBD_ERRNO));
    for (const name of [
      'EIO',
      'EDQUOT',
      'EROFS',
      'ETIMEDOUT',
      'EOPNOTSUPP',
      'EAGAIN',
      'ESHUTDOWN',
      'EINTEGRITY',
    ]) {
      expect(isErrnoName(name)).toBe(true);
      expect(known.has(toNbdErrno(errnoName(name)))).toBe(true);
    }
    expect(['EDQUOT', 'EROFS', 'ETIMEDOUT', 'EOPNOTSUPP'].map((name) => toNbdErrno(errnoName(name)))).toEqual(
      ['ENOSPC', 'EPERM', 'EIO', 'EINVAL'],
    );
  });
});

describe('negotiation', () => {
  test('any bytes are an option header, flags, a name and a request for information, or a ProtocolError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 64 }), (raw) => {
        const bytes = Buffer.from(raw);
        decodesOrRefuses(() => decodeNbdOptionHeader(bytes));
        decodesOrRefuses(() => decodeNbdClientFlags(bytes));
        decodesOrRefuses(() => decodeNbdName(bytes));
        decodesOrRefuses(() => decodeNbdInfoRequest(bytes));
      }),
    );
  });

  test('a request for information is read at its full length only', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), fc.array(u16, { maxLength: 5 }), (text, items) => {
        const name = text.replaceAll('\0', '');
        const data = infoRequest(name, items);
        fc.pre(Buffer.from(name).toString() === name);
        expect(decodeNbdInfoRequest(data)).toEqual({ name, wanted: new Set(items) });
        for (let cut = 0; cut < data.length; cut++) {
          expect(() => decodeNbdInfoRequest(data.subarray(0, cut))).toThrow(ProtocolError);
        }
        expect(() => decodeNbdInfoRequest(Buffer.concat([data, Buffer.alloc(1)]))).toThrow(ProtocolError);
      }),
    );
  });

  test.each([
    { what: 'of 4097 bytes', bytes: Buffer.alloc(4097, 'a') },
    { what: 'with a NUL', bytes: Buffer.from('a\0b') },
    { what: 'that is no UTF-8', bytes: Buffer.from([0x61, 0xff]) },
  ])('a name $what is refused', ({ bytes }) => {
    expect(() => decodeNbdName(bytes)).toThrow(ProtocolError);
  });

  test('client flags that were not offered are refused', () => {
    expect(decodeNbdClientFlags(Buffer.from([0, 0, 0, 3]))).toEqual({ noZeroes: true });
    expect(decodeNbdClientFlags(Buffer.from([0, 0, 0, 1]))).toEqual({ noZeroes: false });
    expect(() => decodeNbdClientFlags(Buffer.from([0, 0, 0, 4]))).toThrow(ProtocolError);
  });

  test('a bit is found whatever else is set', () => {
    fc.assert(
      fc.property(u16, fc.integer({ min: 0, max: 15 }), (flags, bit) => {
        expect(hasBit(flags, 2 ** bit)).toBe(flags.toString(2).padStart(16, '0')[15 - bit] === '1');
      }),
    );
  });
});
