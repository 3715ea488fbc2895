import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProtocolError } from '../../src/protocol/errors.js';
import { findExport, type ExportList } from '../../src/server/access.js';
import {
  exportImages,
  loadExports,
  systemResolveName,
  type ExportsDeps,
} from '../../src/server/exports-file.js';
import { FakeClock } from '../support/fake-clock.js';
import { makeScratch, type Scratch } from '../support/scratch.js';
import { until } from '../support/until.js';

let scratch: Scratch;
let clock: FakeClock;
let deps: ExportsDeps;
const asked: string[] = [];
const NAMES: Readonly<Record<string, readonly string[]>> = {
  backup: ['10.0.0.5', '10.9.0.5', '2001:db8::5'],
  mapped: ['::ffff:10.7.0.1'],
};

beforeEach(() => {
  scratch = makeScratch();
  clock = new FakeClock();
  asked.length = 0;
  deps = {
    clock,
    resolveName: async (name) => {
      asked.push(name);
      if (name === 'silent') return new Promise(() => undefined);
      const addresses = NAMES[name];
      if (addresses === undefined) return Promise.reject(new Error('ENOTFOUND'));
      return Promise.resolve(addresses);
    },
  };
});
afterEach(() => scratch.remove());

function file(text: string | Buffer): string {
  writeFileSync(scratch.path('gg.exports'), text);
  return scratch.path('gg.exports');
}
const modeFor = (exports: ExportList, address: string, path = '/disk'): string | undefined =>
  findExport(exports, { address, port: 1, certificateName: null, certificateNames: [] }, path)?.access;
const shortNames = (message: string): string => message.replaceAll(scratch.folder, '');

async function errorOf(loading: Promise<unknown>): Promise<string> {
  try {
    await loading;
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
    return shortNames((error as Error).message);
  }
  throw new Error('no error');
}

describe('an exports file', () => {
  test('is tried from its last line to its first', async () => {
    const exports = await loadExports(
      file('10.0.0.0/8 RO /disk\n10.0.0.5 RW /disk\n10.0.0.0/30 WO /disk\n'),
      deps,
    );
    expect(['10.0.0.5', '10.0.0.1', '10.3.3.3'].map((address) => modeFor(exports, address))).toEqual([
      'rw',
      'wo',
      'ro',
    ]);
    expect(exports.map(({ origin }) => shortNames(origin))).toEqual([
      '/gg.exports:3',
      '/gg.exports:2',
      '/gg.exports:1',
    ]);
  });

  test('has its names looked up once each, for all their addresses', async () => {
    const exports = await loadExports(file('backup RO /disk\nbackup/24 RW /other\nmapped WO /disk'), deps);
    expect(asked.sort()).toEqual(['backup', 'mapped']);
    const found = ['10.0.0.5', '10.9.0.5', '2001:db8::5', '10.7.0.1', '10.0.0.6', '2001:db8::6'];
    expect(found.map((address) => modeFor(exports, address))).toEqual([
      'ro',
      'ro',
      'ro',
      'wo',
      undefined,
      undefined,
    ]);
    // The bits are those of an IPv4 address; an IPv6 address of the name is taken whole.
    const blocks = ['10.0.0.77', '10.9.0.1', '10.9.1.1', '2001:db8::5', '2001:db8::6'];
    expect(blocks.map((address) => modeFor(exports, address, '/other'))).toEqual([
      'rw',
      'rw',
      undefined,
      'rw',
      undefined,
    ]);
  });

  test('with localhost in it works with the resolver of the system', async () => {
    const exports = await loadExports(file('localhost RW /disk'), { clock, resolveName: systemResolveName });
    expect(modeFor(exports, '127.0.0.1') ?? modeFor(exports, '::1')).toBe('rw');
  });

  test.each([
    {
      what: 'a bad line',
      text: '# x\n10.0.0.1 RX /disk',
      message: "/gg.exports:2: 'RX' is not an access mode",
    },
    { what: 'nothing to export', text: '#\n', message: '/gg.exports: there are no objects to export' },
    {
      what: 'a name without an address',
      text: '\nnowhere RW /disk',
      message: "/gg.exports:2: the host name 'nowhere' can't be looked up: ENOTFOUND",
    },
    {
      what: 'bytes that are no UTF-8',
      text: Buffer.from('10.0.0.1 RW /\xff', 'latin1'),
      message: "/gg.exports: the exports file can't be read",
    },
  ])('with $what is an error that says so', async ({ text, message }) => {
    expect(await errorOf(loadExports(file(text), deps))).toContain(message);
  });

  test('that is missing, a folder, a pipe or huge is an error that says so', async () => {
    expect(await errorOf(loadExports(scratch.path('none'), deps))).toContain(
      "/none: the exports file can't be read: ENOENT",
    );
    mkdirSync(scratch.path('folder'));
    expect(await errorOf(loadExports(scratch.path('folder'), deps))).toContain('it is not a regular file');
    execFileSync('mkfifo', [scratch.path('pipe')]);
    expect(await errorOf(loadExports(scratch.path('pipe'), deps))).toContain('it is not a regular file');
    truncateSync(file(''), 2 ** 40);
    expect(await errorOf(loadExports(scratch.path('gg.exports'), deps))).toContain('more than 4194304 bytes');
  });

  test('waits ten seconds for a resolver that does not answer', async () => {
    const loading = errorOf(loadExports(file('backup RW /disk\nsilent RW /disk'), deps));
    await until('the names to be asked for', () => asked.length === 2);
    clock.advance(10_000);
    expect(await loading).toContain(
      "/gg.exports:2: the host name 'silent' can't be looked up: the resolver: no answer in 10 s",
    );
    expect(clock.timerCount).toBe(0);
  });
});

describe('images on a command line', () => {
  test('are for this machine alone, when nobody else is named', async () => {
    const exports = await exportImages(['/disk', 'images/site.img'], [], deps);
    for (const path of ['/disk', resolve('images/site.img')]) {
      expect(modeFor(exports, '127.0.0.1', path)).toBe('rw');
      expect(modeFor(exports, '127.255.0.9', path)).toBe('rw');
      expect(modeFor(exports, '::1', path)).toBe('rw');
      expect(modeFor(exports, '10.0.0.1', path)).toBeUndefined();
    }
    expect(modeFor(exports, '127.0.0.1', 'images/site.img')).toBeUndefined();
  });

  test('are for whom the rules name, the last rule first', async () => {
    const rules = ['10.0.0.0/8,ro', '10.0.0.5', 'backup,WO', '2001:db8::/32,ro', 'tls:primary,ro'];
    const exports = await exportImages(['/disk'], rules, deps);
    const found = ['10.0.0.1', '10.0.0.5', '10.9.0.5', '2001:db8::1', '127.0.0.1'];
    expect(found.map((address) => modeFor(exports, address))).toEqual(['ro', 'wo', 'wo', 'ro', undefined]);
    expect(exports.map(({ origin }) => origin)).toEqual(
      [...rules].reverse().map((rule) => `--allow ${rule}`),
    );
  });

  test.each([
    ['10.0.0.0/33', "--allow 10.0.0.0/33: '/33' is not a number of mask bits"],
    ['10.0.0.1,', "--allow 10.0.0.1,: '' is not an access mode"],
    ['10.0.0.1,x', "--allow 10.0.0.1,x: 'x' is not an access mode"],
    ['10.0.0.1,ro,rw', "--allow 10.0.0.1,ro,rw: '10.0.0.1,ro' is neither"],
    ['', "--allow : '' is neither an address nor a host name"],
    ['nowhere', "--allow nowhere: the host name 'nowhere' can't be looked up"],
  ])('with the rule %j are an error', async (rule, message) => {
    expect(await errorOf(exportImages(['/disk'], [rule], deps))).toContain(message);
  });

  test('with a path that no client can name are an error', async () => {
    const path = `/${'x'.repeat(1023)}`;
    expect(await errorOf(exportImages([path], [], deps))).toContain('the path has 1024 bytes');
  });
});
