/** How far something has come. */
export interface End {
  readonly isOver: boolean;
  /** Why it has failed. */
  readonly error: Error | null;
}

/** Nobody has to wait for it: whoever runs the world looks whether it is over. */
export function ended(what: Promise<void>): End {
  const end: End = { isOver: false, error: null };
  const over = (error: Error | null): void => void Object.assign(end, { isOver: true, error });
  what.then(
    () => over(null),
    (error: unknown) => over(error as Error),
  );
  return end;
}
