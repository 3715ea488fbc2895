import { existsSync } from 'node:fs';
import { absoluteComponent } from '../../control/component-spec.js';
import { CommandError, UsageError } from '../errors.js';
import type { MirrorSettings } from '../mirrors/settings.js';
import { decideOptions, type GivenOptions } from '../mirrors/start-options.js';
import { checkGgateOptions, settingsOf } from '../mirrors/start-settings.js';
import { defaultConfigPath, readConfig } from './config-file.js';

/** What a command line says about mirrors that are to run. */
export interface WantedMirrors {
  /** Left out: all of the configuration file. */
  readonly name: string | undefined;
  /** As parseComponent() reads them; empty: those of the configuration file. */
  readonly providers: readonly string[];
  /** The configuration file; left out: the usual one. */
  readonly config: string | undefined;
  /** They win over those of the file. */
  readonly given: GivenOptions;
}

/** Throws UsageError, CommandError or ProtocolError for what can be seen to be wrong before anything is opened. */
export function wantedSettings({ name, providers, config, given }: WantedMirrors): MirrorSettings[] {
  return name === undefined || providers.length === 0
    ? configured(name, config, given)
    : [fromCommandLine(name, providers, config, given)];
}

function fromCommandLine(
  name: string,
  providers: readonly string[],
  config: string | undefined,
  given: GivenOptions,
): MirrorSettings {
  if (config !== undefined) {
    throw new UsageError('with --config the components are those of the file; leave them or --config out');
  }
  const components = providers.map(absoluteComponent);
  checkGgateOptions(given);
  return settingsOf(name, components, decideOptions(given));
}

/** Of the configuration file: the one called `name`, or all. */
function configured(
  name: string | undefined,
  config: string | undefined,
  given: GivenOptions,
): MirrorSettings[] {
  const path = config ?? defaultConfigPath(process.platform);
  if (config === undefined && !existsSync(path)) {
    throw new CommandError(
      name === undefined
        ? `no mirror is named, and there is no ${path}; name one with its components, or describe mirrors there`
        : `no components of mirror/${name} are named, and there is no ${path}; name them, or describe the mirror there`,
    );
  }
  const mirrors = readConfig(path);
  const wanted = mirrors.filter((one) => name === undefined || one.name === name);
  if (wanted.length === 0) {
    const known =
      mirrors.length === 0 ? 'there are none' : `there are ${mirrors.map((one) => one.name).join(', ')}`;
    throw new CommandError(
      name === undefined ? `${path}: no [mirror.NAME]` : `${path}: no [mirror.${name}]; ${known}`,
    );
  }
  return wanted.map((one) => settingsOf(one.name, one.components, decideOptions(given, one.options)));
}
