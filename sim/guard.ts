/** Gets every line of what happens, with its time. */
export type Trace = ((line: string) => void) | null;

/** Takes what nobody caught, instead of whoever else listens for it. */
export function guardProcess(caught: (error: Error) => void): { release(): void } {
  const events = ['uncaughtException', 'unhandledRejection'] as const;
  const others = events.map((event) => process.listeners(event as 'uncaughtException'));
  const take = (error: unknown): void => caught(error instanceof Error ? error : new Error(String(error)));
  for (const event of events) {
    process.removeAllListeners(event);
    process.on(event, take);
  }
  return {
    release: () => {
      events.forEach((event, index) => {
        process.removeListener(event, take);
        for (const other of others[index] ?? []) process.on(event as 'uncaughtException', other);
      });
    },
  };
}
