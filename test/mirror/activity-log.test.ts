import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { DeviceError } from '../../src/device/block-device.js';
import { ActivityLog, type LogEntrant } from '../../src/mirror/activity-log.js';

const EXTENT = 1000;

interface Gate {
  readonly what: 'commit' | 'retire';
  readonly extents: readonly number[];
  open(error?: DeviceError): Promise<void>;
}

class Write implements LogEntrant {
  outcome: 'waits' | 'in' | DeviceError = 'waits';
  readonly lengthBytes: number;
  readonly offsetBytes: number;
  constructor(
    first: number,
    last = first,
    private readonly onEntered: () => void = () => undefined,
  ) {
    this.offsetBytes = first * EXTENT;
    this.lengthBytes = (last - first) * EXTENT + 1;
  }
  entered(error: DeviceError | null): void {
    this.outcome = error ?? 'in';
    if (error === null) this.onEntered();
  }
}

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

describe('the activity log', () => {
  let gates: Gate[];
  let durable: readonly number[];
  let log: ActivityLog;

  function make(extentsMax: number): ActivityLog {
    const gate = (what: Gate['what'], extents: readonly number[]): Promise<void> =>
      new Promise((resolve, reject) => {
        gates.push({
          what,
          extents,
          open: async (error) => {
            gates = gates.filter((other) => other.extents !== extents);
            if (error !== undefined) reject(error);
            else {
              if (what === 'commit') durable = extents;
              resolve();
            }
            await turns();
          },
        });
      });
    return new ActivityLog({
      extentSizeBytes: EXTENT,
      extentsMax,
      commit: (extents) => gate('commit', extents),
      retire: (extents) => gate('retire', extents),
    });
  }

  const enter = (write: Write): Write => {
    if (log.enter(write)) write.outcome = 'in';
    return write;
  };

  beforeEach(() => {
    gates = [];
    durable = [];
    log = make(8);
  });

  test('lets a write into a cold extent in when that is on stable storage', async () => {
    const write = enter(new Write(3));
    expect(write.outcome).toBe('waits');
    expect(gates[0]?.extents).toEqual([3]);
    await gates[0]?.open();
    expect(write.outcome).toBe('in');
    expect(durable).toEqual([3]);
  });

  test('lets a write into a hot extent in at once', async () => {
    enter(new Write(3));
    await gates[0]?.open();
    expect(enter(new Write(3)).outcome).toBe('in');
    expect(gates).toHaveLength(0);
  });

  test('commits once for all that wait', async () => {
    enter(new Write(0));
    const later = [1, 2, 3, 2].map((index) => enter(new Write(index)));
    await gates[0]?.open();
    expect(gates.map((gate) => gate.extents)).toEqual([[0, 1, 2, 3]]);
    await gates[0]?.open();
    expect(later.map((write) => write.outcome)).toEqual(['in', 'in', 'in', 'in']);
  });

  test('makes room by retiring what was not used for longest, before the commit that forgets it', async () => {
    for (let index = 0; index < 8; index++) {
      const write = enter(new Write(index));
      await gates[0]?.open();
      log.leave(write);
    }
    log.leave(enter(new Write(0)));
    const newcomer = enter(new Write(20));
    expect(gates[0]).toMatchObject({ what: 'retire', extents: [1] });
    expect(durable).toContain(1);
    await gates[0]?.open();
    expect(gates[0]).toMatchObject({ what: 'commit', extents: [0, 2, 3, 4, 5, 6, 7, 20] });
    await gates[0]?.open();
    expect(newcomer.outcome).toBe('in');
  });

  test('keeps an extent that is written while it retires', async () => {
    for (let index = 0; index < 8; index++) {
      const write = enter(new Write(index));
      await gates[0]?.open();
      log.leave(write);
    }
    enter(new Write(20));
    expect(gates[0]).toMatchObject({ what: 'retire', extents: [0] });
    // Those who wait come first, so this one waits too, and finds the extent gone or hot, but never half of both.
    const again = enter(new Write(0));
    await gates[0]?.open();
    while (gates.length > 0) await gates[0]?.open();
    expect(again.outcome).toBe('in');
    expect(durable).toContain(0);
    expect(durable).toContain(20);
  });

  test('makes writes wait while every extent is in use', async () => {
    const writes = Array.from({ length: 8 }, (_, index) => enter(new Write(index)));
    while (gates.length > 0) await gates[0]?.open();
    const late = enter(new Write(100));
    await turns();
    expect(late.outcome).toBe('waits');
    const [first] = writes;
    if (first !== undefined) log.leave(first);
    await turns();
    while (gates.length > 0) await gates[0]?.open();
    expect(late.outcome).toBe('in');
  });

  test('fails who waits when the log cannot be written, and works again later', async () => {
    const write = enter(new Write(1));
    await gates[0]?.open(new DeviceError('DEVICE_IO', 'EIO', 'no log'));
    expect(write.outcome).toBeInstanceOf(DeviceError);
    const again = enter(new Write(1));
    await gates[0]?.open();
    expect(again.outcome).toBe('in');
  });

  test('empties itself when nobody writes, after retiring everything', async () => {
    log.leave(await entered(new Write(5)));
    const emptied = log.empty();
    expect(gates[0]).toMatchObject({ what: 'retire', extents: [5] });
    await gates[0]?.open();
    await gates[0]?.open();
    expect(await emptied).toBe(true);
    expect(durable).toEqual([]);
    expect(await log.empty()).toBe(true);
    expect(gates).toHaveLength(0);
  });

  async function entered(write: Write): Promise<Write> {
    enter(write);
    while (gates.length > 0) await gates[0]?.open();
    return write;
  }

  test('never has a write in an extent that is not on stable storage, and lets everybody in at last', async () => {
    const step = fc.record({ first: fc.nat(15), span: fc.nat(2), act: fc.nat(3) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        gates = [];
        durable = [];
        log = make(4);
        const all: Write[] = [];
        const inside = new Set<Write>();
        const check = (): void => {
          for (const write of inside) {
            const first = Math.floor(write.offsetBytes / EXTENT);
            const last = Math.floor((write.offsetBytes + write.lengthBytes - 1) / EXTENT);
            for (let index = first; index <= last; index++) expect(durable).toContain(index);
          }
        };
        const leaveOne = (): void => {
          const [write] = inside;
          if (write === undefined) return;
          inside.delete(write);
          log.leave(write);
        };
        for (const { first, span, act } of steps) {
          const write: Write = new Write(first, first + span, () => inside.add(write));
          all.push(write);
          if (log.enter(write)) {
            write.outcome = 'in';
            inside.add(write);
          }
          if (act === 0) await gates[0]?.open();
          if (act === 1) leaveOne();
          check();
        }
        for (let round = 0; round < 500 && all.some((write) => write.outcome === 'waits'); round++) {
          if (gates.length > 0) await gates[0]?.open();
          else leaveOne();
          await turns();
          check();
        }
        expect(all.every((write) => write.outcome === 'in')).toBe(true);
      }),
      { numRuns: 150 },
    );
  });
});
