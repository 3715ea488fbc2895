import { describe, expect, test } from 'vitest';
import { Progress } from '../../src/cli/progress.js';
import { FakeClock } from '../support/fake-clock.js';

const MIB = 1_048_576;

/** What a terminal of one line shows, and what has scrolled up. */
class Screen {
  readonly lines: string[] = [];
  current = '';

  constructor(
    readonly isTTY: boolean,
    readonly columns = 100,
  ) {}

  write(text: string): void {
    for (const part of text.split(/(\r|\n|\u001b\[K)/)) {
      if (part === '\n') {
        this.lines.push(this.current);
        this.current = '';
      } else if (part === '\r') this.current = '';
      else if (part !== '\u001b[K') this.current += part;
    }
  }
}

function begin(isTTY: boolean, columns = 100, startBytes = 0) {
  const clock = new FakeClock();
  const screen = new Screen(isTTY, columns);
  const progress = new Progress({ clock, stream: screen, label: 'copy', totalBytes: 100 * MIB }, startBytes);
  return { clock, screen, progress };
}

/** Ten MiB a second. */
function runFor(seconds: number, { clock, progress }: ReturnType<typeof begin>): void {
  for (let step = 0; step < seconds * 10; step++) {
    progress.advance(MIB);
    clock.advance(100);
  }
}

describe('progress on a terminal', () => {
  test('is one line with share, amount, rate and time left', () => {
    const world = begin(true);
    runFor(4, world);
    expect(world.screen.lines).toEqual([]);
    expect(world.screen.current).toMatch(
      /^copy \[#+\.+\] {2}40\.0 % {2}40 MiB of 100 MiB {2}10 MiB\/s {2}6 s left$/,
    );
  });

  test('is drawn for eighty columns where the terminal says that it has none', () => {
    const world = begin(true, 0);
    world.clock.advance(1000);
    expect(world.screen.current).toContain('%');
    expect(world.screen.current.length).toBeLessThan(80);
  });

  test.each([20, 40, 79, 120])('fits into %i columns', (columns) => {
    const world = begin(true, columns);
    runFor(4, world);
    expect(world.screen.current.length).toBeLessThan(columns);
    expect(world.screen.current).toMatch(/^copy/);
  });

  test('shows a standstill, a remark, and goes on', () => {
    const world = begin(true);
    runFor(4, world);
    world.clock.advance(10_000);
    expect(world.screen.current).toMatch(/stalled$/);
    world.progress.remark('reconnecting');
    expect(world.screen.current).toMatch(/reconnecting$/);
    world.progress.remark(null);
    runFor(6, world);
    expect(world.screen.current).toMatch(/100 MiB of 100 MiB/);
  });

  test('leaves notes on the screen and itself below them', () => {
    const world = begin(true);
    runFor(4, world);
    world.progress.note('note: something');
    expect(world.screen.lines).toEqual(['note: something']);
    expect(world.screen.current).toMatch(/^copy/);
  });

  test('ends with the average of all, or without a trace', () => {
    const kept = begin(true);
    runFor(10, kept);
    kept.progress.finish(true);
    expect(kept.screen.lines).toHaveLength(1);
    expect(kept.screen.lines[0]).toMatch(/100\.0 % {2}100 MiB of 100 MiB {2}10 s {2}10 MiB\/s$/);
    const gone = begin(true);
    runFor(1, gone);
    gone.progress.finish(false);
    expect([gone.screen.lines, gone.screen.current]).toEqual([[], '']);
    expect([kept.clock.timerCount, gone.clock.timerCount]).toEqual([0, 0]);
  });

  test('counts what was done before, but not into the rate', () => {
    const world = begin(true, 100, 50 * MIB);
    runFor(2, world);
    expect(world.screen.current).toMatch(/70\.0 % {2}70 MiB of 100 MiB {2}10 MiB\/s {2}3 s left$/);
  });

  test('never says 100 % before all is done', () => {
    const world = begin(true);
    world.progress.advance(100 * MIB - 1);
    world.clock.advance(200);
    expect(world.screen.current).toMatch(/ 99\.9 %/);
  });
});

describe('progress elsewhere', () => {
  test('is a plain line every five seconds', () => {
    const world = begin(false);
    runFor(10, world);
    expect(world.screen.lines).toEqual([
      expect.stringMatching(/^copy {2}50\.0 % {2}50 MiB of 100 MiB {2}10 MiB\/s {2}5 s left$/),
      expect.stringMatching(/^copy 100\.0 % /),
    ]);
    expect(world.screen.current).toBe('');
  });

  test('tells a remark at once, but not again and again', () => {
    const world = begin(false);
    for (let round = 0; round < 10; round++) {
      world.progress.remark('reconnecting');
      world.progress.remark(null);
      world.clock.advance(100);
    }
    expect(world.screen.lines).toEqual(['copy: reconnecting']);
  });
});
