/**
 * Micro-benchmarks of `src/protocol` and of the region bitmap: what one packet, one handshake, one checksum and one
 * mark cost by themselves. A table a
 * suite; each line of it is compared with the fastest of its suite.
 */
import { createHash, randomBytes } from 'node:crypto';
import benny from 'benny';
import {
  FEATURE,
  Features,
  decodeCapabilities,
  encodeCapabilities,
  type CapabilityPacket,
} from '../src/protocol/capabilities.js';
import { crc32c } from '../src/protocol/crc32c.js';
import { checksumRegions, REGION_CHECKSUM_BYTES } from '../src/protocol/region-checksums.js';
import { REGION_SIZE_BYTES } from '../src/protocol/geometry.js';
import {
  decodeClientInitial,
  decodeServerInitial,
  decodeVersion,
  encodeClientInitial,
  encodeServerInitial,
  encodeVersion,
} from '../src/protocol/handshake.js';
import {
  COMMAND,
  HEADER,
  decodeHeader,
  encodeHeader,
  refusalOf,
  type SessionTerms,
} from '../src/protocol/request.js';
import { viewOf } from '../src/protocol/integers.js';
import { bitmapSuite } from './region-bitmap.js';
import { renderTable } from './table.js';

interface Suite {
  readonly name: string;
  /** Bytes that one operation handles, where a rate in bytes says more than operations. */
  readonly bytesPerOperation?: number;
  readonly cases: Readonly<Record<string, () => unknown>>;
}

function headerSuite(): Suite {
  const bytes = Buffer.alloc(HEADER.sizeBytes);
  const view = viewOf(bytes);
  const request = { command: COMMAND.write, offsetBytes: 6 * 2 ** 32 + 4096, lengthBytes: 4096 };
  const into = { command: 0, offsetBytes: 0, lengthBytes: 0 };
  const terms: SessionTerms = {
    mediaSizeBytes: 2 ** 40,
    sectorSizeBytes: 512,
    canRead: true,
    canWrite: true,
    features: Features.all,
  };
  let seq = 0;
  encodeHeader(bytes, 0, request, seq);
  return {
    name: 'request header',
    cases: {
      'encode a header': () => encodeHeader(bytes, 0, request, (seq += 1)),
      'decode a header': () => decodeHeader(view, 0, into),
      'judge a WRITE': () => refusalOf(request, terms),
    },
  };
}

function handshakeSuite(): Suite {
  const version = encodeVersion(0);
  const client = { path: '/root/images/sitesbackup.img', access: 'rw', half: 'send', token: 7 } as const;
  const server = { mediaSizeBytes: 2 ** 40, sectorSizeBytes: 512, errorNumber: 0 };
  const clientBytes = encodeClientInitial(client);
  const serverBytes = encodeServerInitial(server);
  return {
    name: 'handshake',
    cases: {
      'encode a version packet': () => encodeVersion(0),
      'decode a version packet': () => decodeVersion(version),
      'encode a client initial packet': () => encodeClientInitial(client),
      'decode a client initial packet': () => decodeClientInitial(clientBytes),
      'encode a server initial packet': () => encodeServerInitial(server),
      'decode a server initial packet': () => decodeServerInitial(serverBytes),
    },
  };
}

function capabilitySuite(): Suite {
  const packet: CapabilityPacket = {
    features: Features.of(FEATURE.flush, FEATURE.checksum),
    instanceId: randomBytes(16),
    bootId: randomBytes(16),
    requestBytesMax: 1_048_576,
    keepAliveMs: 5_000,
    requestsMax: 1_024,
  };
  const bytes = encodeCapabilities(packet);
  return {
    name: 'capability packet',
    cases: {
      'encode a capability packet': () => encodeCapabilities(packet),
      'decode a capability packet': () => decodeCapabilities(bytes),
      'features in force': () => packet.features.and(Features.all),
    },
  };
}

function checksumSuite(): Suite {
  const region = randomBytes(REGION_SIZE_BYTES);
  const into = Buffer.alloc(REGION_CHECKSUM_BYTES);
  return {
    name: 'one region of 64 KiB',
    bytesPerOperation: REGION_SIZE_BYTES,
    cases: {
      CRC32C: () => crc32c(region),
      'as CHECKSUM answers it': () => checksumRegions(region, into, 0),
      'SHA-1, for comparison': () => createHash('sha1').update(region).digest(),
    },
  };
}

async function run(suite: Suite): Promise<void> {
  const cases = Object.entries(suite.cases).map(([name, operation]) =>
    // The block keeps a result, which could be a promise, from being taken for an asynchronous case.
    benny.add(name, () => {
      operation();
    }),
  );
  const summary = await benny.suite(suite.name, ...cases);
  const rows = summary.results.map((result) => [
    result.name,
    Math.round(result.ops).toLocaleString('en'),
    (1e9 / result.ops).toFixed(0),
    `±${result.margin} %`,
    suite.bytesPerOperation === undefined
      ? ''
      : `${((result.ops * suite.bytesPerOperation) / 1e9).toFixed(2)} GB/s`,
    (1 - result.percentSlower / 100).toFixed(2),
  ]);
  const heading = [suite.name, 'ops/s', 'ns', 'margin', 'rate', 'of the fastest'];
  process.stdout.write(`\n${renderTable(heading, rows)}\n`);
}

const suites = [headerSuite(), handshakeSuite(), capabilitySuite(), checksumSuite(), bitmapSuite()];
for (const suite of suites) await run(suite);
