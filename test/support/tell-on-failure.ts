import { onTestFailed } from 'vitest';

const TEXT_MAX = 4_000;

/** Adds to the message of a test that fails what `text` gives then, after the hooks: its end, if it is long. */
export function tellOnFailure(who: string, text: () => string): void {
  onTestFailed(({ task }) => {
    const said = text().trim();
    const [error] = task.result?.errors ?? [];
    if (error === undefined || said === '') return;
    error.message += `\n--- ${who}:\n${said.slice(-TEXT_MAX)}`;
  });
}
