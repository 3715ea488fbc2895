import { DeviceError } from '../device/block-device.js';
import { connectSession, type ConnectParameters } from './connection.js';
import { asLossError } from './errors.js';
import { Pipeline } from './pipeline.js';

/** How a question on a side session ends. The first call counts. */
export interface Ends<Result> {
  readonly resolve: (result: Result) => void;
  readonly reject: (reason: DeviceError) => void;
}

export interface SideQuestion<Result> {
  /** Of the one request that is asked. */
  readonly bytesMax: number;
  /** Sends it. */
  readonly ask: (pipeline: Pipeline, mediaSizeBytes: number, ends: Ends<Result>) => void;
  /** The session has ended without an answer, or was silent. */
  readonly ended: (reason: DeviceError, ends: Ends<Result>) => void;
}

/**
 * Asks a server one thing on a session of its own, without hello and ended afterwards, so that nothing which comes of it
 * concerns the device's session. Rejects with what connecting rejects with, and as the question ends.
 */
export async function askOnSideSession<Result>(
  parameters: ConnectParameters,
  { bytesMax, ask, ended }: SideQuestion<Result>,
): Promise<Result> {
  const { name, clock, timeoutMs } = parameters;
  const connection = await connectSession({ ...parameters, hello: null }).connected;
  const { mediaSizeBytes } = connection.terms;
  let pipeline: Pipeline | null = null;
  try {
    return await new Promise<Result>((resolve, reject) => {
      const ends = { resolve, reject };
      const end = (error: unknown): void => ended(asLossError(name, error), ends);
      pipeline = new Pipeline(
        { name, mediaSizeBytes, requestsMax: 1, bytesMax, requestTimeoutMs: timeoutMs, clock },
        { broken: end, progressed: () => undefined, idle: () => undefined },
      );
      connection.attach({ answers: (bytes, length) => pipeline?.answers(bytes, length), lost: end });
      pipeline.attach(connection, 1);
      ask(pipeline, mediaSizeBytes, ends);
    });
  } finally {
    connection.reset();
    (pipeline as Pipeline | null)?.detach(
      new DeviceError('DEVICE_CLOSED', 'ECANCELED', `${name}: the side session is over`),
    );
  }
}
