import { formatSeconds } from '../units.js';
import type { ComponentSpec } from '../../control/component-spec.js';
import type { MirrorSettings } from './settings.js';

/** What would run, for people. Without line ends; paths are as the daemon sees them. */
export function settingsLines(settings: MirrorSettings): string[] {
  const { name, components, remoteTls, ...options } = settings;
  const known = Object.entries({ ...options, ...remoteTls }).filter(
    ([key, value]) => key !== 'name' && value !== null,
  );
  return [
    `mirror/${name}`,
    ...components.map((one) => `  ${componentText(one)}`),
    ...known.map(([key, value]) => `  ${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`),
  ];
}

function componentText({ provider, area, priority, timeoutMs }: ComponentSpec): string {
  const parts = [
    ...(area === null ? [] : [`area ${area}`]),
    ...(priority === null ? [] : [`priority ${priority}`]),
    ...(timeoutMs === null ? [] : [`time-out ${formatSeconds(timeoutMs / 1000)}`]),
  ];
  return parts.length === 0 ? provider : `${provider} (${parts.join(', ')})`;
}
