import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { NBD_COMMAND } from '../../../src/protocol/nbd.js';
import { SlabReads } from '../../../src/server/nbd/slab-reads.js';
import { WINDOW_REQUESTS_MAX } from '../../../src/server/stream/limits.js';
import { SlabPool } from '../../../src/server/stream/slabs.js';
import { pattern } from '../../support/device-requests.js';
import { FaultDevice } from '../../support/fault-device.js';
import { MemoryDevice } from '../../support/memory-device.js';
import type { NbdClient } from '../../support/nbd-client.js';
import { NbdWorld } from '../../support/nbd-world.js';
import { until } from '../../support/until.js';

const MIB = 1_048_576;
let world: NbdWorld | null = null;

afterEach(async () => {
  await world?.end();
  world = null;
});

/** A device that holds what it is told to, and notes the memory that payloads lie in. */
class NotingDevice extends FaultDevice {
  readonly memories = new Set<ArrayBufferLike>();

  override start(io: Parameters<FaultDevice['start']>[0]): void {
    if (io.buffer !== null) this.memories.add(io.buffer.buffer);
    super.start(io);
  }
}

async function serve(): Promise<{ memory: MemoryDevice; device: NotingDevice; client: NbdClient }> {
  const memory = new MemoryDevice({ mediaSizeBytes: 32 * MIB });
  const device = new NotingDevice(memory);
  world = await NbdWorld.start(device);
  return { memory, device, client: await world.attach() };
}

function sendWrites(client: NbdClient, count: number, lengthBytes: number): Buffer {
  const all = pattern(count * lengthBytes, count);
  for (let index = 0; index < count; index++) {
    const offsetBytes = index * lengthBytes;
    client.send(
      { command: NBD_COMMAND.write, offsetBytes },
      all.subarray(offsetBytes, offsetBytes + lengthBytes),
    );
  }
  return all;
}

describe('what a client sends', () => {
  test('is received into the same memory again and again', async () => {
    const { client, device, memory } = await serve();
    for (let round = 0; round < 60; round++) {
      const all = sendWrites(client, 32, 4096);
      for (let index = 0; index < 32; index++) expect((await client.reply()).errno).toBe(0);
      expect(memory.data.subarray(0, all.length).equals(all)).toBe(true);
    }
    // 8 MiB have come by now. One slab is read into, another one has requests that came in two parts.
    expect(device.memories.size).toBeLessThanOrEqual(4);
  });

  test('stays as it is while the device has it, whatever comes meanwhile', async () => {
    const { client, device, memory } = await serve();
    device.plan = () => ({ kind: 'hold' });
    const held = sendWrites(client, WINDOW_REQUESTS_MAX - 1, 12_288);
    await until('a window that is nearly full', () => device.heldCount === WINDOW_REQUESTS_MAX - 1);
    device.plan = () => null;
    for (let round = 0; round < 100; round++)
      expect((await client.write(16 * MIB, pattern(65_536, round))).errno).toBe(0);
    device.release();
    for (let index = 0; index < WINDOW_REQUESTS_MAX - 1; index++)
      expect((await client.reply()).errno).toBe(0);
    expect(memory.data.subarray(0, held.length).equals(held)).toBe(true);
  });

  test('waits for room in the window without being received over', async () => {
    const { client, device, memory } = await serve();
    device.plan = () => ({ kind: 'hold' });
    const all = sendWrites(client, 5 * WINDOW_REQUESTS_MAX, 4096);
    let answered = 0;
    while (answered < 5 * WINDOW_REQUESTS_MAX) {
      // As many as there is room for: what they make room for is held, too.
      await until('a full window', () => device.heldCount === WINDOW_REQUESTS_MAX);
      for (let turn = 0; turn < 3; turn++) await nextTurn();
      device.release();
      answered += WINDOW_REQUESTS_MAX;
    }
    for (let index = 0; index < 5 * WINDOW_REQUESTS_MAX; index++)
      expect((await client.reply()).errno).toBe(0);
    expect(memory.data.subarray(0, all.length).equals(all)).toBe(true);
  });

  test('together with the end of the negotiation is not lost', async () => {
    const { client, memory } = await serve();
    const other = await (world as NbdWorld).connect();
    const data = pattern(4096, 7);
    // In one piece: the client has no need to wait for the answer.
    other.socket.cork();
    const gone = other.go('disk');
    other.send({ command: NBD_COMMAND.write, offsetBytes: 8192 }, data);
    other.socket.uncork();
    await gone;
    expect((await other.reply()).errno).toBe(0);
    expect(memory.data.subarray(8192, 12_288).equals(data)).toBe(true);
    expect((await client.read(8192, 4096)).data.equals(data)).toBe(true);
  });
});

test('a socket of another make is left to its owner', () => {
  const stranger = { _handle: {}, destroy: () => expect.unreachable() } as unknown as Socket;
  expect(SlabReads.takeOver(stranger, new SlabPool())).toBeNull();
});
