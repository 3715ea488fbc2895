import type { ControlCommand } from './command.js';

/** Everything that `ggmirror status` and `list` show: a MirrorStatus. */
export const statusCommand: ControlCommand<object> = {
  parse: () => ({}),
  run: (running) => Promise.resolve(running.status()),
};
