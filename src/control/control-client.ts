import { connect, type Socket } from 'node:net';
import type { Clock } from '../device/clock.js';
import type { ControlRequest } from './commands/all.js';
import { ControlError } from './control-error.js';
import { encodeLine, LineReader, parseAnswer } from './control-protocol.js';
import { ANSWER_BYTES_MAX } from './limits.js';

export interface AskOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
}

/** Nobody listens at the socket: there is no such mirror, or server, now. */
export class NotRunningError extends Error {
  override readonly name = 'NotRunningError';
}

/** Asks a running mirror. As askDaemon(). */
export const askMirror = (path: string, request: ControlRequest, options: AskOptions): Promise<unknown> =>
  askDaemon(path, request, options);

/**
 * Asks a running daemon one thing and resolves with its answer. Rejects with NotRunningError, with ControlError when it
 * refuses or does not answer in time, with ProtocolError for nonsense, and with what the system says (EACCES).
 */
export async function askDaemon(path: string, request: object, options: AskOptions): Promise<unknown> {
  const socket = connect({ path });
  try {
    const answer = parseAnswer(await exchange(socket, request, path, options));
    if (answer.ok) return answer.result;
    throw new ControlError(answer.message, answer);
  } finally {
    socket.destroy();
  }
}

function exchange(
  socket: Socket,
  request: object,
  path: string,
  { clock, timeoutMs }: AskOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new LineReader(ANSWER_BYTES_MAX);
    const timer = clock.after(timeoutMs, () => {
      settle(() => reject(new ControlError(`${path}: no answer within ${timeoutMs / 1000} s`)));
    });
    const settle = (finish: () => void): void => {
      timer.cancel();
      finish();
    };
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const isNobody = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      settle(() => reject(isNobody ? new NotRunningError(`nobody listens on ${path}`) : error));
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        const [line] = reader.push(chunk);
        if (line !== undefined) settle(() => resolve(line));
      } catch (error) {
        settle(() => reject(error instanceof Error ? error : new Error(String(error))));
      }
    });
    socket.on('close', () => {
      settle(() => reject(new ControlError(`${path}: the daemon closed the connection without an answer`)));
    });
    socket.write(encodeLine(request));
  });
}
