import { mirrorPaths } from '../../control/paths.js';
import { UsageError } from '../errors.js';
import type { ComponentSettings, MirrorSettings } from './settings.js';
import type { StartOptions } from './start-options.js';

const COMPONENTS_MAX = 8;

/** Throws UsageError and ProtocolError for what can be seen to be wrong before anything is opened. */
export function settingsOf(
  name: string,
  components: readonly ComponentSettings[],
  options: StartOptions,
): MirrorSettings {
  mirrorPaths(options.runDir, name);
  checkComponents(components);
  const { tlsCa, tlsCert, tlsKey } = options;
  return {
    name,
    components,
    degraded: options.degraded,
    source: null,
    balance: options.balance,
    sliceBytes: options.slice,
    timeoutMs: options.timeout * 1000,
    isAutosync: options.autosync,
    resyncBytesPerSecond: options.resyncRate,
    runDirectory: options.runDir,
    nbdPath: options.nbdSocket,
    nbdTcp: options.nbdPort === null ? null : { host: options.nbdAddress, port: options.nbdPort },
    remoteTls: withoutNull({ tlsCa, tlsCert, tlsKey }),
    logLevel: options.logLevel,
  };
}

function checkComponents(components: readonly ComponentSettings[]): void {
  if (components.length > COMPONENTS_MAX)
    throw new UsageError(`a mirror has at most ${COMPONENTS_MAX} components`);
  const names = components.map(({ provider }) => provider);
  const areas = components.flatMap(({ area }) => area ?? []);
  const twice =
    names.find((one, index) => names.indexOf(one) !== index) ??
    areas.find((one, index) => areas.indexOf(one) !== index);
  if (twice !== undefined) throw new UsageError(`${twice} is given twice`);
}

const withoutNull = (fields: Record<string, string | null>): Record<string, string> =>
  Object.fromEntries(Object.entries(fields).filter((pair): pair is [string, string] => pair[1] !== null));
