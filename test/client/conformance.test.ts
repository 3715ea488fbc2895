import { openRemote } from '../../src/client/remote-device.js';
import { describeBlockDevice } from '../support/device-conformance.js';
import { FakeServer, type FakeBehaviour } from '../support/fake-server.js';
import { remoteOptions } from '../support/remote.js';

function describeRemote(name: string, behaviour: Partial<FakeBehaviour>): void {
  let server: FakeServer | null = null;
  describeBlockDevice(
    name,
    async () => {
      server = await FakeServer.listen(behaviour);
      return await openRemote(remoteOptions(server));
    },
    async () => await server?.close(),
  );
}

describeRemote('a remote export with every extension', {});

describeRemote('a remote export that ends inside a region', { mediaSizeBytes: 300_032 });

describeRemote('a remote export without hello and with large sectors', {
  hello: null,
  sectorSizeBytes: 4096,
});
