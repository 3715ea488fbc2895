import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';

const PORT_RANGE = '/proc/sys/net/ipv4/ip_local_port_range';
/** Each of Vitest's workers has so many ports of its own. */
const PORTS_OF_WORKER = 256;
const PORT_MIN = 10_240;

/** Whether somebody listens on that port of 127.0.0.1. */
export async function connectOnce(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

const given = new Set<number>();

/**
 * A port on loopback for a server that is to come back where it was: no other test has it, and it is none of those which
 * the system gives to whoever asks for any, so that nobody takes it while the server is away.
 */
export async function freePort(): Promise<number> {
  const candidates = ownPorts().filter((port) => !given.has(port));
  for (const port of candidates.length === 0 ? [0] : candidates) {
    const free = await listenOnce(port);
    if (free === null) continue;
    given.add(free);
    return free;
  }
  throw new Error('all ports of this test are in use');
}

/** Of this worker, below those that the system gives away, in a random order; none where it has none below. */
function ownPorts(): number[] {
  if (!existsSync(PORT_RANGE)) return [];
  const systemFirst = Number(readFileSync(PORT_RANGE, 'latin1').split(/\s/)[0]);
  const worker = Number(process.env['VITEST_POOL_ID'] ?? '0');
  const first = systemFirst - (worker + 1) * PORTS_OF_WORKER;
  if (!(first >= PORT_MIN)) return [];
  const turn = Math.floor(Math.random() * PORTS_OF_WORKER);
  return Array.from({ length: PORTS_OF_WORKER }, (_, index) => first + ((turn + index) % PORTS_OF_WORKER));
}

/** The port, if it was free; a port that the system chooses for 0. */
async function listenOnce(port: number): Promise<number | null> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch {
    return null;
  }
  const address = server.address();
  server.close();
  await once(server, 'close');
  return address === null || typeof address === 'string' ? null : address.port;
}
