import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../src/protocol/errors.js';
import { formatLabelDump } from '../../src/protocol/gmirror-dump.js';
import {
  BALANCE_NAMES,
  NO_DISK_FLAGS,
  NO_MIRROR_FLAGS,
  balanceName,
  balanceNumber,
} from '../../src/protocol/gmirror-flags.js';
import {
  decodeLabel,
  displayText,
  encodeLabel,
  hasLabelMagic,
  labelOffsetBytes,
} from '../../src/protocol/gmirror-label.js';
import {
  aLabel,
  anyLabel,
  encodeOldLabel,
  kernelLabels,
  kernelSector,
  kernelTranscript,
  md5At,
  withMd5,
} from '../support/labels.js';

/** Version 4's end. */
const LABEL_BYTES = 135;

function codeOf(sector: Buffer): string {
  try {
    decodeLabel(sector);
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return 'none';
}

describe('labels of a FreeBSD 12.1 kernel', () => {
  test('there are all 40 of them', () => {
    expect(kernelLabels).toHaveLength(40);
  });

  test.each(kernelLabels)('%s is read, and what it says survives our writing it', (name) => {
    const label = decodeLabel(kernelSector(name));
    expect(label).toMatchObject({
      version: 4,
      name: 'remotemirror',
      mediaSizeBytes: 4_193_792,
      providerSizeBytes: 4_194_304,
    });
    // The MD5 may differ: the kernel left old memory behind a NUL, we write zeros.
    expect(decodeLabel(encodeLabel(label))).toEqual({ ...label, md5: expect.any(String) as string });
  });

  test('a label without old memory in it is written byte for byte as the kernel wrote it', () => {
    const sector = kernelSector('01-label-one.a');
    expect(encodeLabel(decodeLabel(sector)).equals(sector)).toBe(true);
  });

  test('every dump that gmirror printed of a saved label is printed the same by us', () => {
    const printed = kernelTranscript().match(/^Metadata on [^]*?\n\n/gm) ?? [];
    const ofHash = new Map(
      kernelLabels.map((name) => decodeLabel(kernelSector(name))).map((label) => [label.md5, label]),
    );
    let compared = 0;
    for (const dump of printed) {
      const provider = /^Metadata on (.*):$/m.exec(dump)?.[1] ?? '';
      const label = ofHash.get(/MD5 hash: (.*)$/m.exec(dump)?.[1] ?? '');
      if (label === undefined) throw new Error(`no saved label is the one of this dump:\n${dump}`);
      expect(formatLabelDump(provider, label)).toBe(dump);
      compared += 1;
    }
    expect(compared).toBe(23);
  });
});

describe('a label', () => {
  test("of the specification's test vector has its MD5", () => {
    const sector = encodeLabel(aLabel());
    expect(decodeLabel(sector).md5).toBe('b531dc16f891590872456a8cd9cf886d');
    expect(sector.subarray(LABEL_BYTES).every((byte) => byte === 0)).toBe(true);
  });

  test('of any content is the same after writing and reading', () => {
    fc.assert(
      fc.property(anyLabel, fc.constantFrom(512, 4096), (label, sectorSizeBytes) => {
        const sector = encodeLabel(label, sectorSizeBytes);
        expect(sector).toHaveLength(sectorSizeBytes);
        expect(decodeLabel(sector)).toMatchObject({ ...label, version: 4 });
      }),
    );
  });

  test('with any one byte damaged is refused, and damage behind it is not looked at', () => {
    fc.assert(
      fc.property(
        anyLabel,
        fc.integer({ min: 0, max: 511 }),
        fc.integer({ min: 1, max: 255 }),
        (label, at, change) => {
          const sector = encodeLabel(label);
          sector.writeUInt8((sector.readUInt8(at) + change) % 256, at);
          if (at >= LABEL_BYTES) expect(decodeLabel(sector)).toMatchObject(label);
          else expect(['PROTOCOL_MAGIC', 'PROTOCOL_VERSION', 'PROTOCOL_FORMAT']).toContain(codeOf(sector));
        },
      ),
    );
  });

  test('is refused for each byte that may be damaged, one after the other', () => {
    for (let at = 0; at < LABEL_BYTES; at++) {
      const sector = kernelSector('05-dirty-open.a');
      sector.writeUInt8(255 - sector.readUInt8(at), at);
      expect(codeOf(sector), `byte ${at}`).not.toBe('none');
    }
  });

  test('keeps its meaning whatever stands behind the NUL of its strings', () => {
    fc.assert(
      fc.property(anyLabel, fc.uint8Array({ minLength: 16, maxLength: 16 }), (label, rubbish) => {
        const sector = encodeLabel(label);
        for (const at of [0, 20, 95]) {
          const endAt = sector.indexOf(0, at) + 1;
          sector.set(rubbish.subarray(0, at + 16 - endAt), endAt);
        }
        expect(decodeLabel(withMd5(sector, 4))).toMatchObject(label);
      }),
    );
  });

  test('with a name of 15 characters is written and read', () => {
    const label = aLabel({ name: 'fifteen-letters', hardcodedProvider: 'fifteen.letters' });
    expect(decodeLabel(encodeLabel(label))).toMatchObject(label);
  });

  test.each([
    ['a name of 16 characters', { name: 'sixteen-letters!' }],
    ['a NUL in the name', { name: 'a\0b' }],
    ['a name that is more than a byte a character', { name: 'diskλ' }],
    ['flags that nobody knows', { diskFlags: { ...NO_DISK_FLAGS, otherBits: [4] } }],
    ['mirror flags that nobody knows', { mirrorFlags: { ...NO_MIRROR_FLAGS, otherBits: [63] } }],
    ['a component id that does not fit', { did: 2 ** 32 }],
  ])('with %s is never written', (_, fields) => {
    expect(() => encodeLabel(aLabel(fields))).toThrow();
  });

  test('is in the last sector of its provider, whatever the sector size of the mirror', () => {
    expect(labelOffsetBytes({ mediaSizeBytes: 1_048_576, sectorSizeBytes: 4096 })).toBe(1_044_480);
  });
});

describe('a label of an older version', () => {
  const whole = aLabel({ genid: 7, syncid: 9, priority: 200, balance: 1, syncOffsetBytes: 131_072 });

  test.each([
    { version: 0, genid: 0, providerSizeBytes: 0, endAt: 123 },
    { version: 1, genid: 0, providerSizeBytes: 0, endAt: 123 },
    { version: 2, genid: 7, providerSizeBytes: 0, endAt: 127 },
    { version: 3, genid: 7, providerSizeBytes: 1_048_576, endAt: 135 },
  ] as const)(
    '$version is read, with 0 for what it does not have, and refused when damaged',
    ({ version, endAt, ...missing }) => {
      const sector = encodeOldLabel(whole, { version, mflags: 1n, dflags: 0x43n });
      const expected = {
        ...whole,
        ...missing,
        version,
        mirrorFlags: { ...NO_MIRROR_FLAGS, noAutoSync: true },
        diskFlags: { ...NO_DISK_FLAGS, dirty: true, synchronizing: true, canDelete: true },
      };
      expect(decodeLabel(sector)).toMatchObject(expected);
      expect(md5At(version) + 16).toBe(endAt);
      for (let at = 0; at < endAt; at++) {
        const damaged = Buffer.from(sector);
        damaged.writeUInt8(255 - damaged.readUInt8(at), at);
        expect(codeOf(damaged), `byte ${at}`).not.toBe('none');
      }
    },
  );

  test('of any content is read as it was meant', () => {
    fc.assert(
      fc.property(anyLabel, fc.constantFrom(0, 1, 2, 3), (label, version) => {
        const { genid, providerSizeBytes, mirrorFlags, diskFlags, ...everywhere } = label;
        expect([mirrorFlags.otherBits, diskFlags.otherBits]).toEqual([[], []]);
        expect(decodeLabel(encodeOldLabel(label, { version }))).toMatchObject({
          ...everywhere,
          genid: version >= 2 ? genid : 0,
          providerSizeBytes: version >= 3 ? providerSizeBytes : 0,
        });
      }),
    );
  });
});

describe('a sector that is no label of ours to read', () => {
  const changed = (change: (sector: Buffer) => unknown): Buffer => {
    const sector = encodeLabel(aLabel());
    change(sector);
    return withMd5(sector, 4);
  };

  test.each([
    ['all zeros', Buffer.alloc(512), 'PROTOCOL_MAGIC'],
    ['shorter than a sector', encodeLabel(aLabel()).subarray(0, 256), 'PROTOCOL_MAGIC'],
    ['another class of GEOM', changed((sector) => sector.write('GEOM::STRIPE', 'latin1')), 'PROTOCOL_MAGIC'],
    ['a longer magic', changed((sector) => sector.write('GEOM::MIRRORS', 'latin1')), 'PROTOCOL_MAGIC'],
    ['version 5', changed((sector) => sector.writeUInt32LE(5, 16)), 'PROTOCOL_VERSION'],
    ['an enormous version', changed((sector) => sector.writeUInt32LE(0xffff_ffff, 16)), 'PROTOCOL_VERSION'],
    ['a mirror of 2^53 bytes', changed((sector) => sector.writeBigUInt64LE(2n ** 53n, 59)), 'PROTOCOL_RANGE'],
  ])('%s: %#', (_, sector, code) => {
    expect(codeOf(sector)).toBe(code);
  });

  test('with any bytes in it ends in a ProtocolError, never in anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 600 }), fc.boolean(), (bytes, hasMagic) => {
        const sector = Buffer.from(bytes);
        if (hasMagic) sector.write('GEOM::MIRROR\0', 'latin1');
        expect(codeOf(sector)).not.toBe('none');
        expect(hasLabelMagic(sector)).toBe(hasMagic && sector.length >= 512);
      }),
    );
  });
});

describe('the flags of a label', () => {
  test('are read from all 64 bits, and those without a name are kept by number', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (dflags) => {
        const { diskFlags } = decodeLabel(encodeOldLabel(aLabel(), { version: 3, dflags }));
        const { otherBits, dirty, synchronizing, forceSync, inactive, canDelete } = diskFlags;
        const bits: [boolean, bigint][] = [
          [dirty, 1n],
          [synchronizing, 2n],
          [forceSync, 4n],
          [inactive, 8n],
          [canDelete, 0x40n],
          ...otherBits.map((bit): [boolean, bigint] => [true, 2n ** BigInt(bit)]),
        ];
        expect(bits.reduce((sum, [isSet, bit]) => sum + (isSet ? bit : 0n), 0n)).toBe(dflags);
      }),
    );
  });

  test.each([
    { mflags: 0n, dflags: 0n, says: ['NONE', 'NONE'] },
    { mflags: 3n, dflags: 0xfn, says: ['NOFAILSYNC NOAUTOSYNC', 'DIRTY SYNCHRONIZING FORCE_SYNC INACTIVE'] },
    { mflags: 1n, dflags: 0x40n, says: ['NOAUTOSYNC', ''] },
    { mflags: 2n ** 40n, dflags: 0x41n, says: ['', 'DIRTY'] },
  ])('$mflags and $dflags are printed as gmirror prints them', ({ says, ...flags }) => {
    const dump = formatLabelDump('da0', decodeLabel(encodeOldLabel(aLabel(), { version: 3, ...flags })));
    expect(/mflags: (.*)\n {4}dflags: (.*)\n/.exec(dump)?.slice(1)).toEqual(says);
  });
});

describe('balance numbers', () => {
  test('have the names that gmirror gives them', () => {
    expect(BALANCE_NAMES.map(balanceNumber)).toEqual([0, 1, 2, 3, 4]);
    expect([0, 1, 2, 3, 4, 5, 255].map(balanceName)).toEqual([...BALANCE_NAMES, 'unknown', 'unknown']);
  });
});

describe('a name from a label', () => {
  test.each([
    ['plain', 'plain'],
    [Buffer.from('diskλ').toString('latin1'), 'diskλ'],
    ['caf\xe9', 'café'],
    ['\x1b[2Jgone\x07', '\\x1b[2Jgone\\x07'],
    [Buffer.from('a\u202eb').toString('latin1'), 'a\\u202eb'],
  ])('%j is shown as %j, so that no terminal obeys it', (text, shown) => {
    expect(displayText(text)).toBe(shown);
  });
});
