import { openExport } from '../../src/control/export-opener.js';
import type { Chance } from '../chance.js';
import type { Cluster } from '../cluster.js';
import { Network, type NetworkOptions } from './network.js';
import { EXPORT_PATH, SessionServer } from './server.js';

export const PORT = 3080;

type NetworkWays = Pick<NetworkOptions, 'bytesPerMs' | 'clientsDropAtDeath'>;

/** From now on the hosts' disks are exported by the real server, and mirrors reach them with the real client. */
export function serveSessions(
  cluster: Cluster,
  chance: Chance,
  { bytesPerMs = [Infinity], clientsDropAtDeath = true }: Partial<NetworkWays> = {},
): Network {
  const { world, hosts } = cluster;
  const network = new Network({
    ...{ world, hosts, bytesPerMs, clientsDropAtDeath, chance: chance.fork('network') },
    linkOf: (one, other) => {
      const link = cluster.link(one, other);
      if (link === null) throw new Error('a connection from a host to itself');
      return link;
    },
  });
  for (const host of hosts)
    host.serve(new SessionServer(host, network, chance.fork(`server at ${host.name}`)));
  let clients = 0;
  cluster.openRemote = ({ process, from, to, timeoutMs, clients: own }) => {
    clients += 1;
    const uri = { host: network.addressOf(to), port: PORT, path: EXPORT_PATH, isTls: false };
    return openExport(`ggate://${to.name}${EXPORT_PATH}`, uri, {
      timeoutMs,
      clients: own,
      access: 'rw',
      tls: {},
      clock: process,
      random: chance.fork(`client ${clients}`),
      connectTcp: (options) => network.connect(from, process, options).asSocket,
    });
  };
  return network;
}
