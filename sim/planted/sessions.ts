import { Durability } from '../../src/client/durability.js';
import { Pipeline } from '../../src/client/pipeline.js';
import { SilenceWatch } from '../../src/client/silence-watch.js';
import type { BlockIo } from '../../src/device/block-device.js';
import { COMMAND, type EchoedHeader } from '../../src/protocol/request.js';
import { RunningDeviceSession } from '../../src/server/device-session/running-device-session.js';
import { FlushDebt } from '../../src/server/flush-debt.js';
import { SessionRequests } from '../../src/server/device-session/requests.js';
import { type Payload, RequestReader } from '../../src/server/stream/request-reader.js';
import { type Mistake, patch } from './mistake.js';

/** As long as a payload is at most. */
const REST_BYTES = 131_072;

/** Every method is called with its object as this. */
/* eslint-disable @typescript-eslint/unbound-method */

/** Sends again what was failed to its caller, whose buffer it is by then. */
function replayFailedWrites(): () => void {
  const { start, fail } = Pipeline.prototype;
  const waiting = new WeakMap<Pipeline, Set<BlockIo>>();
  const of = (pipeline: Pipeline): Set<BlockIo> => {
    const known = waiting.get(pipeline) ?? new Set();
    waiting.set(pipeline, known);
    return known;
  };
  const copyOf = ({ op, offsetBytes, lengthBytes, buffer, bufferAt }: BlockIo, done: BlockIo['done']) => ({
    ...{ op, offsetBytes, lengthBytes, buffer, bufferAt, done },
  });
  return patch(Pipeline.prototype, {
    start(this: Pipeline, io: BlockIo) {
      of(this).add(io);
      start.call(
        this,
        copyOf(io, (error) => {
          of(this).delete(io);
          io.done(error);
        }),
      );
    },
    fail(this: Pipeline, ...args: Parameters<typeof fail>) {
      const [, matches] = args;
      const writes = matches(COMMAND.write) ? [...of(this)].filter(({ op }) => op === 'write') : [];
      const count = fail.apply(this, args);
      for (const io of writes)
        start.call(
          this,
          copyOf(io, () => undefined),
        );
      return count;
    },
  });
}

/** For the first who asks it is a ping, which needs no disk; its answer is a flush's. */
function pingThenFlush(header: EchoedHeader): EchoedHeader {
  let isAsked = false;
  return {
    ...header,
    get command() {
      const command = isAsked ? COMMAND.flush : COMMAND.ping;
      isAsked = true;
      return command;
    },
  };
}

/** Mistakes of client and server that a life without a mirror must show. */
export const SESSIONS: readonly Mistake[] = [
  {
    name: 'the server answers a flush before it is done',
    plant: () => {
      const { take } = SessionRequests.prototype;
      return patch(SessionRequests.prototype, {
        take(this: SessionRequests, header: EchoedHeader, ...rest: [Payload | null]) {
          take.call(this, header.command === COMMAND.flush ? pingThenFlush(header) : header, ...rest);
        },
      });
    },
  },
  {
    name: 'the server does a write whose payload was cut short as if it had come whole',
    plant: () => {
      const { close } = RequestReader.prototype;
      return patch(RequestReader.prototype, {
        close(this: RequestReader<unknown, unknown>) {
          if (!this.isBetweenRequests) this.push(Buffer.alloc(REST_BYTES));
          close.call(this);
        },
      });
    },
  },
  {
    name: 'the server lets a client in before what its old session has at the disk is done',
    way: { wire: 'alone', only: ['hang', 'slow', 'cut'] },
    plant: () => patch(RunningDeviceSession.prototype, { isGone: true }),
  },
  {
    name: 'the client sends a write again that it has failed to its caller',
    plant: replayFailedWrites,
  },
  {
    name: "the client believes that the server's host has kept what was not flushed, whatever it is now",
    plant: () => patch(Durability.prototype, { restarted: () => undefined }),
  },
  {
    name: 'the client waits for an answer for ever',
    plant: () => patch(SilenceWatch.prototype, { begin: () => undefined }),
  },
  {
    name: 'the server forgets a failed flush with the session that asked for it',
    way: { wire: 'alone', only: ['failed-flush', 'cut', 'power'] },
    plant: () => patch(FlushDebt.prototype, { owe: () => undefined }),
  },
];
