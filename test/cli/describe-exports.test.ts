import { expect, test } from 'vitest';
import { describeExport, formatBlock } from '../../src/cli/daemon/describe-exports.js';
import { parseExportHost } from '../../src/protocol/exports.js';

test.each([
  { written: '192.168.1.100', shown: '192.168.1.100' },
  { written: '10.1.2.3/8', shown: '10.0.0.0/8' },
  { written: '0.0.0.0/0', shown: '0.0.0.0/0' },
  { written: '::1', shown: '::1' },
  { written: '::/0', shown: '::/0' },
  { written: 'fe80::/10', shown: 'fe80::/10' },
  { written: '2001:DB8:0:0:1:0:0:1', shown: '2001:db8::1:0:0:1' },
  { written: '1:2:3:4:5:6:7:8', shown: '1:2:3:4:5:6:7:8' },
  { written: '::ffff:10.0.0.1', shown: '10.0.0.1' },
])('the log shows $written as $shown', ({ written, shown }) => {
  const host = parseExportHost(written, 'here');
  if (host.kind !== 'block') throw new Error('not an address');
  expect(formatBlock(host.block)).toBe(shown);
});

test('the log shows an export as path, hosts, mode and where it was written', () => {
  const matcher = { kind: 'certificate', name: 'backup' } as const;
  expect(describeExport({ origin: 'gg.exports:3', matcher, access: 'ro', path: '/disk' })).toEqual({
    path: '/disk',
    host: 'tls:backup',
    mode: 'ro',
    origin: 'gg.exports:3',
  });
});
