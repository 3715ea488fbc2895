/** One kind of load, and how fast we want to be at it. */
export interface Work {
  readonly name: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly mode: 'read' | 'write';
  readonly isSequential: boolean;
  /** Each client has an image of its own, as each mirror has. The ceiling serves one client only. */
  readonly clients: number;
  /** Least ratio of our rate to the other's. */
  readonly targets: { readonly ggated: number; readonly ceiling: number | null };
  /** Least ratio of our client's rate to ggload's, where our client is measured too. */
  readonly clientTarget: number | null;
}

const BOTH_MODES = ['read', 'write'] as const;

const small = { blockBytes: 4096, isSequential: false } as const;
const large = { blockBytes: 131_072, isSequential: true } as const;

/** Every load of the table, in its order. */
export const WORKS: readonly Work[] = [
  ...BOTH_MODES.map((mode) => ({
    ...small,
    name: `4 KiB random ${mode}, 32 deep`,
    mode,
    depth: 32,
    clients: 1,
    targets: { ggated: 2.5, ceiling: 0.75 },
    clientTarget: 0.5,
  })),
  ...BOTH_MODES.map((mode) => ({
    ...small,
    name: `4 KiB random ${mode}, 1 deep`,
    mode,
    depth: 1,
    clients: 1,
    targets: { ggated: 1.2, ceiling: 0.93 },
    clientTarget: null,
  })),
  ...BOTH_MODES.map((mode) => ({
    ...large,
    name: `128 KiB sequential ${mode}, 8 deep`,
    mode,
    depth: 8,
    clients: 1,
    targets: { ggated: 1.2, ceiling: 0.7 },
    clientTarget: 0.5,
  })),
  ...BOTH_MODES.map((mode) => ({
    ...small,
    name: `four clients, 4 KiB random ${mode}, 32 deep`,
    mode,
    depth: 32,
    clients: 4,
    targets: { ggated: 2, ceiling: null },
    clientTarget: null,
  })),
];

/** Where the server's memory may end up once everything has been measured. */
export const MEMORY_TARGET_MIB = 150;
