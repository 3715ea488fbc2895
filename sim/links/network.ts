import type { TcpSocketConnectOpts } from 'node:net';
import type { Chance } from '../chance.js';
import type { Host } from '../host.js';
import type { Link } from '../link.js';
import type { SimProcess } from '../process.js';
import type { World } from '../world.js';
import { type Packet, Pipe } from './pipe.js';
import { type KernelEnd, SimSocket } from './socket.js';

/** Of a connection: the end that connected, and the one that was connected to. */
type Side = 'out' | 'back';
const OTHER = { out: 'back', back: 'out' } as const;

export interface NetworkOptions {
  readonly world: World;
  readonly chance: Chance;
  /** In the order of their addresses. */
  readonly hosts: readonly Host[];
  readonly linkOf: (one: Host, other: Host) => Link;
  /** How much a connection takes in a millisecond: each one of these. */
  readonly bytesPerMs: readonly number[];
  /** Whether the system of clients lets them say what is to be done when they are killed: see dropUnsentAtDeath(). */
  readonly clientsDropAtDeath: boolean;
}

export type Accept = (socket: SimSocket) => void;

const SYN_REPEAT_MS = [1000, 3000, 7000] as const;

/** TCP between hosts: connections are lost with processes, links and power as the kernel's are. */
export class Network {
  readonly #listening = new Map<Host, { readonly process: SimProcess; readonly accept: Accept }>();
  readonly #connections = new Set<TcpConnection>();
  #port = 40_000;

  constructor(private readonly options: NetworkOptions) {}

  get clientsDropAtDeath(): boolean {
    return this.options.clientsDropAtDeath;
  }

  addressOf(host: Host): string {
    return `10.0.0.${this.options.hosts.indexOf(host) + 1}`;
  }

  /** Connections to the host are accepted by this process from now on, until it ends. */
  listen(host: Host, process: SimProcess, accept: Accept): void {
    this.#listening.set(host, { process, accept });
  }

  /** As connect() of node:net; every port is the server's. */
  connect(from: Host, process: SimProcess, options: TcpSocketConnectOpts): SimSocket {
    const { world, chance, hosts, linkOf, bytesPerMs, clientsDropAtDeath: dropsAtDeath } = this.options;
    const to = hosts.find((host) => this.addressOf(host) === options.host);
    if (to === undefined) throw new Error(`nobody has the address ${String(options.host)}`);
    this.#port += 1;
    const connection: TcpConnection = new TcpConnection({
      ...{ world, chance, from, to, process, connect: options, port: this.#port, dropsAtDeath },
      addresses: { out: this.addressOf(from), back: this.addressOf(to) },
      link: linkOf(from, to),
      bytesPerMs: chance.pick(bytesPerMs),
      answer: () => this.#answer(to, connection),
      over: () => this.#connections.delete(connection),
    });
    this.#connections.add(connection);
    connection.open();
    return connection.clientSocket;
  }

  /** To be called after the processes are gone: of what the host was about to send nothing is sent. */
  powerOff(host: Host): void {
    for (const connection of this.#connections) connection.vanish(host);
  }

  /** Whoever has not given up on it learns that the host knows of no connection. */
  powerOn(host: Host): void {
    for (const connection of this.#connections) connection.deny(host);
  }

  #answer(to: Host, connection: TcpConnection): void {
    const listening = this.#listening.get(to);
    if (listening?.process.isAlive !== true) connection.refuse();
    else connection.accept(listening.process, listening.accept);
  }
}

interface ConnectionOptions {
  readonly world: World;
  readonly chance: Chance;
  readonly link: Link;
  readonly bytesPerMs: number;
  readonly from: Host;
  readonly to: Host;
  readonly process: SimProcess;
  readonly connect: TcpSocketConnectOpts;
  readonly addresses: Readonly<Record<Side, string>>;
  readonly port: number;
  readonly dropsAtDeath: boolean;
  /** The first packet has reached a host that is on. */
  readonly answer: () => void;
  readonly over: () => void;
}

class TcpConnection {
  readonly clientSocket: SimSocket;
  /** What is on its way, by the side that sends. */
  readonly #pipes: Readonly<Record<Side, Pipe>>;
  /** Null when the kernel there has no such connection. */
  readonly #sockets: Record<Side, SimSocket | null>;
  readonly #hosts: Readonly<Record<Side, Host>>;
  #isAnswered = false;

  constructor(private readonly options: ConnectionOptions) {
    const { link, chance, bytesPerMs, from, to, process, connect, addresses, dropsAtDeath } = options;
    this.#hosts = { out: from, back: to };
    const bufferBytes = chance.pick([20_000, 100_000, 1_000_000]);
    const segmentBytes = chance.pick([1460, 9000, 65_536, 65_536]);
    const pipe = (side: Side): Pipe =>
      new Pipe({
        ...{ link, chance, bufferBytes, segmentBytes, bytesPerMs, from: this.#hosts[side].name },
        arrived: (packet) => this.#arrived(OTHER[side], packet),
        hasRoom: () => this.#sockets[side]?.hasRoom(),
      });
    this.#pipes = { out: pipe('out'), back: pipe('back') };
    const kernel = this.#endOf('out');
    const remote = { remoteAddress: addresses.back, remotePort: 3080 };
    this.clientSocket = new SimSocket({ kernel, process, ...remote, connect, dropsAtDeath });
    this.#sockets = { out: this.clientSocket, back: null };
    link.join(this);
  }

  open(): void {
    const { world, chance } = this.options;
    const attempt = (round: number): void => {
      if (this.#isAnswered || this.#sockets.out === null) return;
      this.#pipes.out.send({ kind: 'syn' });
      const againMs = SYN_REPEAT_MS[round];
      if (againMs !== undefined) world.after(againMs, () => attempt(round + 1));
    };
    const { link, to } = this.options;
    // Of a way that is not there one may hear at once, or not at all.
    if ((link.isCut || !to.isOn) && chance.happens(0.3))
      world.after(chance.delayMs(50), () => this.#sockets.out?.failed('EHOSTUNREACH'));
    else attempt(0);
  }

  refuse(): void {
    this.#pipes.back.send({ kind: 'reset', code: 'ECONNREFUSED' });
  }

  accept(process: SimProcess, accept: Accept): void {
    const { addresses, port } = this.options;
    const kernel = this.#endOf('back');
    const remote = { remoteAddress: addresses.out, remotePort: port };
    const socket = new SimSocket({ kernel, process, ...remote, connect: null, dropsAtDeath: false });
    this.#sockets.back = socket;
    this.#pipes.back.send({ kind: 'syn' });
    accept(socket);
  }

  /** For the link: what is on the way is lost; the ends notice at some time, or when they wait for too long. */
  cut(fromHost: string | null): void {
    const { world, chance } = this.options;
    for (const side of ['out', 'back'] as const) {
      if (fromHost !== null && this.#hosts[side].name !== fromHost) continue;
      this.#pipes[side].lose();
      // Who sends hears no acknowledgement; who is sent to hears nothing.
      const noticedMs = chance.pick(fromHost === null ? [0, 200, 3000, null, null] : [3000, null]);
      if (noticedMs !== null) world.after(noticedMs, () => this.#fail(side, 'ETIMEDOUT'));
    }
  }

  /** For the link: what waited goes on. */
  pump(): void {
    this.#pipes.out.pump();
    this.#pipes.back.pump();
  }

  vanish(host: Host): void {
    for (const side of ['out', 'back'] as const) {
      if (this.#hosts[side] !== host) continue;
      this.#sockets[side] = null;
      this.#pipes[side].drop();
      this.#pipes[OTHER[side]].hasSent = false;
    }
  }

  deny(host: Host): void {
    const { world, chance } = this.options;
    for (const side of ['out', 'back'] as const) {
      if (this.#hosts[side] !== host || this.#sockets[side] !== null) continue;
      // What was sent into the void is sent once more.
      if (this.#pipes[OTHER[side]].hasSent) world.after(chance.delayMs(1000), () => this.#deny(side));
    }
  }

  #deny(side: Side): void {
    if (this.#sockets[side] === null && this.#hosts[side].isOn)
      this.#pipes[side].send({ kind: 'reset', code: 'ECONNRESET' });
  }

  #arrived(side: Side, packet: Packet): void {
    if (!this.#hosts[side].isOn) return;
    if (packet.kind === 'syn' && side === 'back') {
      if (this.#isAnswered) return;
      this.#isAnswered = true;
      this.options.answer();
      return;
    }
    const socket = this.#sockets[side];
    if (packet.kind === 'reset') this.#fail(side, packet.code);
    else if (socket === null) this.#deny(side);
    else if (packet.kind === 'syn') socket.connected();
    else if (packet.kind === 'fin') socket.ended();
    else socket.arrived(packet.bytes);
  }

  #fail(side: Side, code: string): void {
    this.#sockets[side]?.failed(code);
  }

  #endOf(side: Side): KernelEnd {
    const pipe = this.#pipes[side];
    const ending = (): void => {
      this.#sockets[side] = null;
      const isOver = this.#sockets.out === null && this.#sockets.back === null;
      if (!isOver || !this.#isAnswered) return;
      this.options.over();
    };
    let isFinished = false;
    return {
      get roomBytes() {
        return pipe.roomBytes;
      },
      send: (bytes) => pipe.send({ kind: 'data', bytes }),
      finish: () => {
        if (!isFinished) pipe.send({ kind: 'fin' });
        isFinished = true;
      },
      reset: () => {
        pipe.drop();
        pipe.send({ kind: 'reset', code: 'ECONNRESET' });
      },
      consumed: (lengthBytes) => this.#pipes[OTHER[side]].consumed(lengthBytes),
      closed: ending,
    };
  }
}
