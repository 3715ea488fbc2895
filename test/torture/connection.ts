import { NbdClient, type RequestFields, type ServerReply } from '../support/nbd-client.js';

/** The daemon has gone, or sends its clients away; what was under way may have happened or not. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** It was answered with an error: it may have happened, or in part. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
}

/** NBD_ESHUTDOWN: a mirror that ends in order. */
const SHUTDOWN = 108;

interface Waiting {
  readonly what: string;
  readonly sinceMs: number;
  readonly settle: (reply: ServerReply | null) => void;
}

/** An NBD client with any number of requests under way. */
export class Connection {
  readonly #waiting = new Map<number, Waiting>();
  #isLost = false;
  slowestMs = 0;

  private constructor(private readonly client: NbdClient) {
    this.#receive().catch(() => this.#lose());
  }

  /** Rejects if nobody is there. */
  static async open(path: string, name: string): Promise<Connection> {
    const client = await NbdClient.connect({ unixPath: path });
    try {
      await client.go(name);
    } catch (error) {
      client.destroy();
      throw error;
    }
    return new Connection(client);
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Rejects with ConnectionLost, and with RequestFailed: no trouble of a backup may do that. */
  async request(fields: RequestFields, payload?: Buffer): Promise<ServerReply> {
    const { command, offsetBytes = 0, lengthBytes = payload?.length ?? 0 } = fields;
    const what = `command ${command} of ${lengthBytes} bytes at ${offsetBytes}`;
    const reply = await new Promise<ServerReply | null>((settle) => {
      if (this.#isLost) settle(null);
      else this.#waiting.set(this.client.send(fields, payload), { what, sinceMs: performance.now(), settle });
    });
    if (reply === null || reply.errno === SHUTDOWN) throw new ConnectionLost(what);
    if (reply.errno !== 0) throw new RequestFailed(`${what} failed with NBD error ${reply.errno}`);
    return reply;
  }

  /** The requests that were unanswered for longer than this, while the daemon ran all the time. */
  overdue(runningSinceMs: number, boundMs: number): string[] {
    const nowMs = performance.now();
    const waitedMs = ({ sinceMs }: Waiting): number => nowMs - Math.max(sinceMs, runningSinceMs);
    return [...this.#waiting.values()]
      .filter((one) => waitedMs(one) > boundMs)
      .map((one) => `${one.what} is unanswered after ${Math.round(waitedMs(one))} ms`);
  }

  close(): void {
    this.client.destroy();
    this.#lose();
  }

  async #receive(): Promise<void> {
    for (;;) {
      const reply = await this.client.reply();
      const waiting = this.#waiting.get(reply.cookie);
      if (waiting === undefined) throw new Error(`an answer to ${reply.cookie}, which nobody has asked`);
      this.#waiting.delete(reply.cookie);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - waiting.sinceMs);
      waiting.settle(reply);
    }
  }

  #lose(): void {
    this.#isLost = true;
    for (const { settle } of this.#waiting.values()) settle(null);
    this.#waiting.clear();
  }
}
