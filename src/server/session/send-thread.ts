import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../../protocol/errors.js';
import { nodeCalls } from '../../device/platform/file-calls.js';
import { BlockingWire } from './blocking-wire.js';
import { SessionMemory, type SessionMemoryBlocks } from './memory.js';

/*
 * Sends large answers while the engine reads the next ones from the disk: two copies of everything, on two processors.
 * It has the send lock while it writes. When the connection is broken it tells so, once, and ends.
 */

assert(parentPort !== null, 'send thread: started as a program');
const memory = SessionMemory.from(workerData as SessionMemoryBlocks);
const wire = new BlockingWire(null, nodeCalls);
memory.setSenderReady();
for (;;) {
  const answers = memory.takeAnswers();
  try {
    wire.write(answers, 0, answers.length);
  } catch {
    memory.sent(true);
    break;
  }
  memory.sent(false);
}
parentPort.postMessage('broken');
