const POLL_MS = 20;
/** Only there against hangs: far more than anything takes on a small machine that has much else to do. */
export const PATIENCE_MS = 90_000;

/**
 * Waits for something that happens outside this process. Rejects after `timeoutMs` with `what`, which a function says
 * that can tell then why it did not come to that.
 */
export async function until<T>(
  what: string | (() => string),
  look: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  timeoutMs = PATIENCE_MS,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > endMs)
      throw new Error(`waited ${timeoutMs} ms in vain for ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
