import { describe, expect, test } from 'vitest';
import type { AccessMode } from '../../src/protocol/handshake.js';
import { allows, findExport } from '../../src/server/access.js';
import type { Peer } from '../../src/server/halves.js';
import { exportsOf } from '../support/front-server.js';

const peer = (address: string, certificateNames: readonly string[] = []): Peer => ({
  address,
  port: 4000,
  certificateName: certificateNames[0] ?? null,
  certificateNames,
});

describe('the modes', () => {
  // Rows and columns of the protocol spec's matrix, section 4.
  const matrix: Readonly<Record<AccessMode, Readonly<Record<AccessMode, boolean>>>> = {
    ro: { ro: true, wo: false, rw: true },
    wo: { ro: false, wo: true, rw: true },
    rw: { ro: false, wo: false, rw: true },
  };
  const modes: AccessMode[] = ['ro', 'wo', 'rw'];
  test.each(modes.flatMap((request) => modes.map((exported) => ({ request, exported }))))(
    'a request of $request and an export of $exported',
    ({ request, exported }) => expect(allows(request, exported)).toBe(matrix[request][exported]),
  );
});

describe('the export of a client', () => {
  const list = exportsOf(`
10.0.0.0/8 RO /disk
10.1.0.0/16 RW /disk
10.1.2.3 WO /disk
10.1.2.3 RW /other
2001:db8::/32 RO /disk
tls:primary RW /disk
0.0.0.0/0 RO /public
::/0 RO /public
tls:mirror.example.org RO /secret
`);
  const lineOf = (who: Peer, path: string): string | undefined => findExport(list, who, path)?.origin;

  test.each([
    ['10.200.0.1', '/disk', 'gg.exports:2'],
    ['10.1.255.255', '/disk', 'gg.exports:3'],
    ['10.1.2.3', '/disk', 'gg.exports:4'],
    ['10.1.2.3', '/other', 'gg.exports:5'],
    ['10.1.2.4', '/other', undefined],
    ['11.0.0.1', '/disk', undefined],
    ['::ffff:10.1.2.3', '/disk', 'gg.exports:4'],
    ['2001:db8::99', '/disk', 'gg.exports:6'],
    ['2001:db9::99', '/disk', undefined],
    ['fe80::1%em0', '/public', 'gg.exports:9'],
    ['192.0.2.1', '/public', 'gg.exports:8'],
    ['192.0.2.1', '/Public', undefined],
    ['192.0.2.1', '/public/', undefined],
    ['192.0.2.1', '', undefined],
    ['not an address', '/public', undefined],
  ])('%s that asks for %j meets %s', (address, path, line) => {
    expect(lineOf(peer(address), path)).toBe(line);
  });

  test('can be chosen by any name in its certificate, and by no other', () => {
    expect(lineOf(peer('192.0.2.1', ['primary']), '/disk')).toBe('gg.exports:7');
    expect(lineOf(peer('192.0.2.1', ['x', 'mirror.example.org']), '/secret')).toBe('gg.exports:10');
    expect(lineOf(peer('192.0.2.1', ['Primary']), '/disk')).toBeUndefined();
    expect(lineOf(peer('192.0.2.1', []), '/secret')).toBeUndefined();
    expect(lineOf(peer('10.1.2.3', ['primary']), '/disk')).toBe('gg.exports:7');
  });
});
