import { report, waitForTask } from '../daemon/detach.js';
import { failureOf } from '../errors.js';
import type { GgatedOptions } from './options.js';
import { runGgated } from './run.js';

// The process that `ggated` leaves behind. It is a module of its own, so that its options come as data and not as a
// second, hidden command line.
try {
  const options = (await waitForTask()) as GgatedOptions;
  await runGgated(options, async () => await report({ kind: 'ready' }));
  process.exit(0);
} catch (error) {
  const { exitCode, message } = failureOf(error);
  await report({ kind: 'failed', message: message ?? 'Cannot start the daemon.' }); // heard by nobody after 'ready'
  process.exit(exitCode);
}
