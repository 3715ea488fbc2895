import { describe, expect, test } from 'vitest';
import {
  BALANCE_ALGORITHMS,
  ReadBalance,
  balanceOfLabel,
  defaultBalance,
  parseBalance,
  type BalanceAlgorithm,
  type BalanceOptions,
  type BalancedComponent,
} from '../../src/mirror/balance.js';

interface Setup extends Partial<Omit<BalanceOptions, 'components'>> {
  readonly components?: readonly Partial<BalancedComponent>[];
}

/** Components are ACTIVE, three of one priority unless said. The list runs from the last one to the first then. */
function balanceOf(
  algorithm: BalanceAlgorithm,
  { components = [{}, {}, {}], ...options }: Setup = {},
): ReadBalance {
  const balance = new ReadBalance({
    algorithm,
    sliceBytes: 4096,
    sectorSizeBytes: 512,
    components: components.map((fields) => ({ priority: 0, isLocal: false, ...fields })),
    ...options,
  });
  components.forEach((_, component) => balance.setState(component, 'ACTIVE'));
  return balance;
}

/** Sends a read and answers it; who got it. */
function read(balance: ReadBalance, offsetBytes: number, lengthBytes = 4096): number[] {
  const pieces = balance.chooseRead(offsetBytes, lengthBytes).map((piece) => ({ ...piece }));
  for (const piece of pieces) balance.readStarted(piece);
  for (const { component } of pieces) balance.readDone(component);
  return pieces.map(({ component }) => component);
}

/** Sends a read that stays in flight. */
function hold(balance: ReadBalance, offsetBytes: number, lengthBytes = 4096): number[] {
  const pieces = balance.chooseRead(offsetBytes, lengthBytes).map((piece) => ({ ...piece }));
  for (const piece of pieces) balance.readStarted(piece);
  return pieces.map(({ component }) => component);
}

const piecesOf = (balance: ReadBalance, offsetBytes: number, lengthBytes: number): string[] =>
  balance
    .chooseRead(offsetBytes, lengthBytes)
    .map((piece) => `${piece.component}: ${piece.offsetBytes}+${piece.lengthBytes}`);

const FAR = 2 ** 30;

describe.each(BALANCE_ALGORITHMS)('with balance %s', (algorithm) => {
  test('every byte of a read is answered once, by ACTIVE components, in order', () => {
    const balance = balanceOf(algorithm, { components: [{}, {}, {}, {}, {}] });
    balance.setState(1, 'ABSENT');
    balance.setState(3, 'CONNECTED');
    for (const lengthBytes of [512, 1024, 4096, 4608, 65_536, 131_072, 1_048_576]) {
      for (const offsetBytes of [0, 512, FAR]) {
        let nextBytes = offsetBytes;
        for (const piece of balance.chooseRead(offsetBytes, lengthBytes)) {
          expect([0, 2, 4]).toContain(piece.component);
          expect(piece.offsetBytes).toBe(nextBytes);
          expect(piece.lengthBytes).toBeGreaterThan(0);
          expect(piece.lengthBytes % 512).toBe(0);
          nextBytes += piece.lengthBytes;
        }
        expect(nextBytes).toBe(offsetBytes + lengthBytes);
      }
    }
  });

  test('nobody answers while no component is ACTIVE, and the one that is answers all', () => {
    const balance = balanceOf(algorithm);
    balance.setState(0, 'ABSENT');
    balance.setState(1, 'CONNECTED');
    expect(read(balance, 0)).toEqual([2]);
    expect(read(balance, 0, 131_072)).toEqual([2]);
    balance.setState(2, 'ABSENT');
    expect(balance.activeCount).toBe(0);
    expect(read(balance, 0)).toEqual([]);
    expect(read(balance, 0, 131_072)).toEqual([]);
    balance.setState(0, 'ACTIVE');
    expect(read(balance, 0)).toEqual([0]);
  });

  test('an answer is reused, so that reads allocate nothing', () => {
    const balance = balanceOf(algorithm);
    const first = balance.chooseRead(0, 512);
    expect(balance.chooseRead(FAR, 512)).toBe(first);
    expect(first[0]?.offsetBytes).toBe(FAR);
  });

  test('another component can be had for a read that failed, as long as there is one', () => {
    const balance = balanceOf(algorithm, { components: [{ priority: 1 }, { priority: 9 }, { priority: 5 }] });
    const failed = new Set<number>();
    const order: number[] = [];
    for (;;) {
      const next = balance.chooseOther((component) => failed.has(component));
      if (next === -1) break;
      failed.add(next);
      order.push(next);
    }
    expect(order).toEqual([1, 2, 0]);
  });
});

describe('prefer', () => {
  test('reads from the highest priority that is ACTIVE', () => {
    const balance = balanceOf('prefer', {
      components: [{ priority: 5 }, { priority: 200 }, { priority: 7 }],
    });
    expect(read(balance, 0, 131_072)).toEqual([1]);
    balance.setState(1, 'CONNECTED');
    expect(read(balance, 0)).toEqual([2]);
    balance.setState(1, 'ACTIVE');
    expect(read(balance, 0)).toEqual([1]);
  });

  test('reads from the one that came last among equals', () => {
    expect(read(balanceOf('prefer'), 0)).toEqual([2]);
  });
});

describe('prefer-local', () => {
  const components = [
    { priority: 200 },
    { priority: 1, isLocal: true },
    { priority: 2, isLocal: true },
    { priority: 255 },
  ];

  test('reads from local components before remote ones, whatever their priority', () => {
    const balance = balanceOf('prefer-local', { components });
    const order: number[] = [];
    while (balance.activeCount > 0) {
      const [chosen = -1] = read(balance, 0);
      order.push(chosen);
      balance.setState(chosen, 'ABSENT');
    }
    expect(order).toEqual([2, 1, 3, 0]);
  });
});

describe('round-robin', () => {
  test('goes through the list and begins again', () => {
    const balance = balanceOf('round-robin', {
      components: [{ priority: 1 }, { priority: 3 }, { priority: 2 }],
    });
    expect([0, 1, 2, 3, 4].flatMap(() => read(balance, 0))).toEqual([1, 2, 0, 1, 2]);
  });

  test('steps over what is not ACTIVE, and goes on behind it', () => {
    const balance = balanceOf('round-robin');
    expect(read(balance, 0)).toEqual([2]);
    balance.setState(1, 'CONNECTED');
    expect(read(balance, 0)).toEqual([0]);
    expect(read(balance, 0)).toEqual([2]);
    balance.setState(1, 'ACTIVE');
    expect([...read(balance, 0), ...read(balance, 0)]).toEqual([0, 2]);
  });

  test('begins at the head of the list when the next one is gone for good', () => {
    const balance = balanceOf('round-robin');
    expect(read(balance, 0)).toEqual([2]);
    balance.setState(1, 'ABSENT');
    expect(read(balance, 0)).toEqual([2]);
    expect(read(balance, 0)).toEqual([0]);
  });
});

describe('split', () => {
  test.each([
    { what: 'up to the slice in one piece', lengthBytes: 4096, pieces: ['2: 8192+4096'] },
    {
      what: 'in equal pieces',
      lengthBytes: 12_288,
      pieces: ['2: 8192+4096', '1: 12288+4096', '0: 16384+4096'],
    },
    {
      what: 'in pieces of whole sectors, the last of them shorter',
      lengthBytes: 8192,
      pieces: ['2: 8192+3072', '1: 11264+3072', '0: 14336+2048'],
    },
  ])('reads $what', ({ lengthBytes, pieces }) => {
    expect(piecesOf(balanceOf('split'), 8192, lengthBytes)).toEqual(pieces);
  });

  test('leaves components out when there are not enough sectors', () => {
    const balance = balanceOf('split', { sliceBytes: 512 });
    expect(piecesOf(balance, 0, 1024)).toEqual(['2: 0+512', '1: 512+512']);
    // 682 bytes each, rounded up to two sectors.
    expect(piecesOf(balance, 0, 2048)).toEqual(['2: 0+1024', '1: 1024+1024']);
  });

  test('rounds to the sectors of the mirror', () => {
    const balance = balanceOf('split', { sectorSizeBytes: 4096 });
    expect(piecesOf(balance, 0, 16_384)).toEqual(['2: 0+8192', '1: 8192+8192']);
  });

  test('takes turns with what it does not split', () => {
    const balance = balanceOf('split');
    expect([read(balance, 0), read(balance, 0, 131_072), read(balance, 0)]).toEqual([[2], [2, 1, 0], [1]]);
  });
});

describe('load', () => {
  test('gives the first read to the last in the list, and one that goes on to the same again', () => {
    const balance = balanceOf('load');
    expect(read(balance, FAR)).toEqual([0]);
    expect(read(balance, FAR + 4096)).toEqual([0]);
  });

  test('gives a read nearby to the one that was near', () => {
    const balance = balanceOf('load', { components: [{ priority: 0 }, { priority: 1 }] });
    hold(balance, FAR);
    // Component 0 has a load of 32 now, which is less than the 256 that being near is worth.
    expect(read(balance, FAR + 4096 + 1_048_575)).toEqual([0]);
    expect(read(balance, 3 * FAR)).toEqual([1]);
  });

  test('takes a distance of 1 MiB as far', () => {
    const balance = balanceOf('load', { components: [{ priority: 0 }, { priority: 1 }] });
    hold(balance, FAR);
    expect(read(balance, FAR + 4096 + 1_048_576)).toEqual([1]);
  });

  test('leaves a component that has much to do, though the read goes on there', () => {
    const balance = balanceOf('load', { components: [{ priority: 0 }, { priority: 1 }] });
    const order: number[] = [];
    let offsetBytes = FAR;
    for (let count = 0; count < 30; count++) {
      order.push(...hold(balance, offsetBytes));
      offsetBytes += 4096;
    }
    // The formula by hand: the load of component 0 after n reads in flight, until it is worth more than 512.
    let load = 0;
    let inFlight = 0;
    while (load <= 512) {
      inFlight += 1;
      load = Math.floor((inFlight * 256 + load * 7) / 8);
    }
    expect(order.indexOf(1)).toBe(inFlight);
  });

  test('counts writes and synchronizations of components that are not read from, too', () => {
    const balance = balanceOf('load', { components: [{ priority: 1 }, { priority: 0 }] });
    for (let count = 0; count < 8; count++) balance.requestStarted(1);
    // The load is reckoned when a read is sent, so the first one still goes there.
    expect(hold(balance, FAR)).toEqual([1]);
    expect(hold(balance, 5 * FAR)).toEqual([0]);
    for (let count = 0; count < 8; count++) balance.requestDone(1);
  });

  test('keeps to the formula over a long random run', () => {
    const components = [{ priority: 3 }, { priority: 7 }, { priority: 3 }];
    const balance = balanceOf('load', { components });
    // In list order: by priority, among equals the later one first.
    const model = [1, 2, 0].map((component) => ({ component, inFlight: 0, load: 0, last: 0 }));
    const flying: number[] = [];
    let seed = 12_345;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    for (let count = 0; count < 2000; count++) {
      if (flying.length > 0 && random(2) === 0) {
        const [done = -1] = flying.splice(random(flying.length), 1);
        balance.readDone(done);
        for (const one of model) if (one.component === done) one.inFlight -= 1;
        continue;
      }
      const offsetBytes = random(4) === 0 ? random(64) * 524_288 : (model[random(3)]?.last ?? 0);
      const price = (one: (typeof model)[number]): number => {
        if (one.last === offsetBytes) return one.load - 512;
        return Math.abs(one.last - offsetBytes) < 1_048_576 ? one.load - 256 : one.load;
      };
      const least = Math.min(...model.map(price));
      const expected = model.filter((one) => price(one) === least).at(-1);
      if (expected === undefined) throw new Error('nobody');
      expect(hold(balance, offsetBytes)).toEqual([expected.component]);
      flying.push(expected.component);
      expected.last = offsetBytes + 4096;
      expected.inFlight += 1;
      for (const one of model) one.load = Math.floor((one.inFlight * 256 + one.load * 7) / 8);
    }
  });

  test('begins anew with a component that comes back, and survives late answers from before', () => {
    const balance = balanceOf('load', { components: [{ priority: 1 }, { priority: 0 }] });
    for (let count = 0; count < 40; count++) hold(balance, FAR + count * 4096);
    balance.setState(1, 'ABSENT');
    for (let count = 0; count < 40; count++) balance.readDone(1);
    balance.setState(1, 'ACTIVE');
    expect(read(balance, 7 * FAR)).toEqual([1]);
  });
});

describe('the choice of an algorithm', () => {
  test('by a person takes every name but none, with which nothing would ever be read', () => {
    expect(BALANCE_ALGORITHMS.map(parseBalance)).toEqual([...BALANCE_ALGORITHMS]);
    expect(['none', '', 'Load', 'constructor', 'unknown'].map(parseBalance)).toEqual([
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  test('by a label is prefer where the kernel would never answer', () => {
    expect([0, 1, 2, 3, 4, 5, 255].map(balanceOfLabel)).toEqual([
      'prefer',
      'round-robin',
      'load',
      'split',
      'prefer',
      'prefer',
      'prefer',
    ]);
  });

  test.each([
    { locality: [true, false], algorithm: 'prefer-local' },
    { locality: [false, true, true], algorithm: 'prefer-local' },
    { locality: [true, true], algorithm: 'load' },
    { locality: [false, false], algorithm: 'load' },
    { locality: [], algorithm: 'load' },
  ])('by nobody is $algorithm for components of which local are $locality', ({ locality, algorithm }) => {
    expect(defaultBalance(locality.map((isLocal) => ({ isLocal })))).toBe(algorithm);
  });
});
