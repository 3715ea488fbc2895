import type { TlsOptions } from 'node:tls';
import { FEATURE, Features, type CapabilityPacket } from '../../src/protocol/capabilities.js';
import type { ErrnoName } from '../../src/protocol/errno.js';
import type { ClientInitial, ServerInitial } from '../../src/protocol/handshake.js';
import { parseExports } from '../../src/protocol/exports.js';
import type { ExportList } from '../../src/server/access.js';
import { GgateServer } from '../../src/server/ggate-server.js';
import type { ProbeMedia } from '../../src/server/guarded-probe.js';
import type { AttachRequest, PairedHalves, SessionHost } from '../../src/server/halves.js';
import type { ListenEndpoint, ListeningAddress } from '../../src/server/listener.js';
import { FakeClock } from './fake-clock.js';
import { MemoryLog } from './memory-log.js';
import { until } from './until.js';

/** Takes the halves and keeps them. */
export class FakeSessionHost implements SessionHost {
  readonly started: PairedHalves[] = [];
  /** What it says to everyone who asks. */
  refusal: ErrnoName | null | Promise<ErrnoName | null> = null;
  readonly asked: AttachRequest[] = [];

  async refusalOf(request: AttachRequest): Promise<ErrnoName | null> {
    this.asked.push(request);
    return Promise.resolve(this.refusal);
  }

  start(halves: PairedHalves): void {
    this.started.push(halves);
  }

  async session(index: number): Promise<PairedHalves> {
    return until(`session ${index}`, () => this.started[index]);
  }

  close(): void {
    for (const { send, receive } of this.started) {
      send.destroy();
      receive.destroy();
    }
  }
}

export const MEDIA = { mediaSizeBytes: 65_536, sectorSizeBytes: 512 };
export const IDENTITY = { instanceId: Buffer.alloc(16, 0xaa), bootId: Buffer.alloc(16, 0xbb) };

export interface Front {
  readonly server: GgateServer;
  readonly addresses: readonly ListeningAddress[];
  /** Of the first address. */
  readonly port: number;
  readonly sessions: FakeSessionHost;
  readonly clock: FakeClock;
  readonly log: MemoryLog;
  close(): void;
}

export interface FrontOptions {
  /** Lines of an exports file, without names. */
  readonly exports: string;
  readonly probeMedia?: ProbeMedia;
  readonly endpoints?: readonly ListenEndpoint[];
  readonly tls?: TlsOptions;
}

export function exportsOf(text: string): ExportList {
  return parseExports(text, 'gg.exports')
    .map(({ lineNumber, host, access, path }) => {
      if (host.kind === 'name') throw new Error('no names here');
      const matcher = host.kind === 'block' ? { kind: 'blocks' as const, blocks: [host.block] } : host;
      return { origin: `gg.exports:${lineNumber}`, matcher, access, path };
    })
    .reverse();
}

/** A server front on a port of 127.0.0.1, with a clock that stands still and nobody behind it. */
export async function startFront(options: FrontOptions): Promise<Front> {
  const clock = new FakeClock();
  const log = new MemoryLog();
  const sessions = new FakeSessionHost();
  const server = new GgateServer({
    endpoints: options.endpoints ?? [{ address: { host: '127.0.0.1' }, port: 0, isTls: false }],
    exports: exportsOf(options.exports),
    sessions,
    probeMedia: options.probeMedia ?? (async () => Promise.resolve(MEDIA)),
    identity: IDENTITY,
    clock,
    log,
    tls: options.tls ?? null,
  });
  const addresses = await server.start();
  return {
    server,
    addresses,
    port: addresses[0]?.port ?? 0,
    sessions,
    clock,
    log,
    close: () => {
      server.close();
      sessions.close();
    },
  };
}

/** What a client says first; every field can be set. */
export const initial = (fields: Partial<ClientInitial> = {}): ClientInitial => ({
  path: '/disk',
  access: 'rw',
  half: 'send',
  token: 1,
  ...fields,
});

export const hello = (fields: Partial<CapabilityPacket> = {}): CapabilityPacket => ({
  features: Features.of(FEATURE.flush, FEATURE.keepAlive),
  instanceId: Buffer.alloc(16, 0xcc),
  bootId: Buffer.alloc(16),
  requestBytesMax: 1_048_576,
  keepAliveMs: 5_000,
  requestsMax: 64,
  ...fields,
});

/** What the server answers when it lets a client in, and when it does not. */
export const welcomed: ServerInitial = { ...MEDIA, errorNumber: 0 };
export const refusedWith = (errorNumber: number): ServerInitial => ({
  mediaSizeBytes: 0,
  sectorSizeBytes: 0,
  errorNumber,
});
