import type { Socket } from 'node:net';
import type { BlockDevice } from '../../device/block-device.js';
import { ProtocolError } from '../../protocol/errors.js';
import { NBD_OPTION, NBD_OPTION_REPLY, type NbdOptionReply } from '../../protocol/nbd.js';
import {
  NBD_CLIENT_FLAGS_BYTES,
  NBD_OPTION_HEADER,
  decodeNbdClientFlags,
  decodeNbdInfoRequest,
  decodeNbdName,
  decodeNbdOptionHeader,
  encodeNbdExportNameReply,
  encodeNbdGreeting,
  encodeNbdInfoReplies,
  encodeNbdOptionReply,
  encodeNbdServerReply,
  type NbdClientFlags,
  type NbdExportInfo,
} from '../../protocol/nbd-options.js';
import { take } from '../handshake.js';
import { OPTIONS_MAX, OPTION_BYTES_MAX, OPTION_SKIP_BYTES_MAX } from './limits.js';
import { exportInfoOf } from './terms.js';

/** Exports by name; looked at each time a client asks. */
export type NbdExports = ReadonlyMap<string, BlockDevice>;

/** What a client and we have agreed on. */
export interface Negotiated {
  /** What is spoken on from now on: the connection itself, or the TLS socket on it. */
  readonly socket: Socket;
  readonly device: BlockDevice;
  readonly info: NbdExportInfo;
  readonly isStructured: boolean;
}

export interface NegotiationOptions {
  readonly raw: Socket;
  readonly exports: NbdExports;
  /** Makes TLS of a connection and rejects if that fails; null where there is none. Where there is, it is required. */
  readonly secure: ((raw: Socket) => Promise<Socket>) | null;
  /** Why no client can be served now, a clause for people; null if one can. */
  readonly obstacle: () => string | null;
}

/** What an option leads to: the next one, the transmission, or the end. */
type Outcome = 'next' | 'aborted' | Negotiated;

const NOTHING = Buffer.alloc(0);

/**
 * Fixed newstyle negotiation. Resolves with what was agreed on, or with null if the client has ended it politely.
 * Rejects with ProtocolError, after which the connection is closed without a word: at garbage, at an EXPORT_NAME that
 * can't be answered otherwise, and when the connection ends. The time limit is the caller's: destroy the connection.
 */
export async function negotiate(options: NegotiationOptions): Promise<Negotiated | null> {
  return await new Negotiation(options).run();
}

class Negotiation {
  #socket: Socket;
  #isSecured = false;
  #isStructured = false;
  #clientFlags: NbdClientFlags = { noZeroes: false };

  constructor(private readonly options: NegotiationOptions) {
    this.#socket = options.raw;
  }

  async run(): Promise<Negotiated | null> {
    this.#socket.write(encodeNbdGreeting());
    this.#clientFlags = decodeNbdClientFlags(
      await take(this.#socket, NBD_CLIENT_FLAGS_BYTES, "client's flags"),
    );
    for (let count = 0; count < OPTIONS_MAX; count++) {
      const outcome = await this.#serveOption();
      if (outcome === 'aborted') return null;
      if (outcome !== 'next') return outcome;
    }
    throw new ProtocolError('PROTOCOL_UNEXPECTED', `${OPTIONS_MAX} options, and no end of them`);
  }

  async #serveOption(): Promise<Outcome> {
    const header = await take(this.#socket, NBD_OPTION_HEADER.sizeBytes, 'header of an option');
    const { option, lengthBytes } = decodeNbdOptionHeader(header);
    if (lengthBytes > OPTION_SKIP_BYTES_MAX) {
      throw new ProtocolError('PROTOCOL_RANGE', `option ${option} announces ${lengthBytes} bytes`);
    }
    const data = lengthBytes === 0 ? NOTHING : await take(this.#socket, lengthBytes, `option ${option}`);
    const isTlsMissing = this.options.secure !== null && !this.#isSecured;
    if (option === NBD_OPTION.exportName) return this.#exportName(data, isTlsMissing);
    if (option === NBD_OPTION.abort) {
      this.#reply(option, NBD_OPTION_REPLY.ack);
      return 'aborted';
    }
    if (option === NBD_OPTION.starttls) return await this.#startTls(data);
    if (isTlsMissing) return this.#reply(option, NBD_OPTION_REPLY.errorTlsRequired, 'this server wants TLS');
    if (lengthBytes > OPTION_BYTES_MAX) return this.#reply(option, NBD_OPTION_REPLY.errorTooBig);
    return this.#answer(option, data);
  }

  #answer(option: number, data: Buffer): Outcome {
    if (option === NBD_OPTION.info || option === NBD_OPTION.go) return this.#infoOrGo(option, data);
    const isKnown = option === NBD_OPTION.list || option === NBD_OPTION.structuredReply;
    if (!isKnown) return this.#reply(option, NBD_OPTION_REPLY.errorUnsupported);
    if (data.length > 0) return this.#reply(option, NBD_OPTION_REPLY.errorInvalid, 'it has no data');
    if (option === NBD_OPTION.structuredReply) {
      this.#isStructured = true;
    } else {
      for (const [name, device] of this.options.exports) {
        this.#socket.write(encodeNbdServerReply(option, exportInfoOf(name, device, this.#isStructured)));
      }
    }
    return this.#reply(option, NBD_OPTION_REPLY.ack);
  }

  #infoOrGo(option: number, data: Buffer): Outcome {
    let request;
    try {
      request = decodeNbdInfoRequest(data);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return this.#reply(option, NBD_OPTION_REPLY.errorInvalid, error.message);
    }
    const found = this.#find(request.name);
    if (found === null) return this.#reply(option, NBD_OPTION_REPLY.errorUnknown, 'no export has this name');
    const obstacle = option === NBD_OPTION.go ? this.options.obstacle() : null;
    if (obstacle !== null) return this.#reply(option, NBD_OPTION_REPLY.errorPolicy, obstacle);
    this.#socket.write(encodeNbdInfoReplies(option, found.info, request.wanted));
    return option === NBD_OPTION.go ? found : 'next';
  }

  /** The old way to begin, which knows no errors. */
  #exportName(data: Buffer, isTlsMissing: boolean): Negotiated {
    const name = decodeNbdName(data);
    const found = isTlsMissing ? null : this.#find(name);
    const obstacle = this.options.obstacle();
    if (found === null || obstacle !== null) {
      const why = isTlsMissing ? 'without TLS' : found === null ? 'which is not there' : `but ${obstacle}`;
      throw new ProtocolError(
        'PROTOCOL_UNEXPECTED',
        `the client wants export ${JSON.stringify(name)}, ${why}`,
      );
    }
    this.#socket.write(encodeNbdExportNameReply(found.info, this.#clientFlags));
    return found;
  }

  async #startTls(data: Buffer): Promise<Outcome> {
    const option = NBD_OPTION.starttls;
    const { secure, raw } = this.options;
    if (secure === null) return this.#reply(option, NBD_OPTION_REPLY.errorUnsupported);
    if (data.length > 0 || this.#isSecured) return this.#reply(option, NBD_OPTION_REPLY.errorInvalid);
    // What came in plain text behind it could be another's, and would be taken for the client's own words.
    if (raw.readableLength > 0) {
      throw new ProtocolError('PROTOCOL_UNEXPECTED', 'the client went on in plain text after STARTTLS');
    }
    this.#reply(option, NBD_OPTION_REPLY.ack);
    this.#socket = await secure(raw);
    // TLS is required here, so nothing has been agreed on before that would have to be forgotten.
    this.#isSecured = true;
    return 'next';
  }

  /** An empty name stands for the only export there is. */
  #find(name: string): Negotiated | null {
    const { exports } = this.options;
    let found = [...exports].find(([candidate]) => candidate === name);
    if (found === undefined && name === '' && exports.size === 1) [found] = exports;
    if (found === undefined) return null;
    const [, device] = found;
    const isStructured = this.#isStructured;
    return { socket: this.#socket, device, info: exportInfoOf(found[0], device, isStructured), isStructured };
  }

  #reply(option: number, reply: NbdOptionReply, text = ''): 'next' {
    this.#socket.write(encodeNbdOptionReply(option, reply, text));
    return 'next';
  }
}
