import { componentName } from '../../control/component-spec.js';
import { CommandError, UsageError } from '../errors.js';
import { askStatus, type RunDirFlags } from './run-dir.js';

/** Throws UsageError for a name that is there twice. */
export function requireOnce(names: readonly string[]): void {
  const twin = names.find((name, index) => names.indexOf(name) !== index);
  if (twin !== undefined) throw new UsageError(`${twin} is given twice`);
}

/**
 * The components of a running mirror that are meant, as it calls them: 'name', or the UUID if that was given. Of several
 * all are looked at before the first one is touched: they are its components and, if `isOneKept`, an ACTIVE one is left.
 * Throws CommandError and UsageError.
 */
export async function componentsToTouch(
  mirror: string,
  texts: readonly string[],
  flags: RunDirFlags,
  { isOneKept }: { readonly isOneKept: boolean },
): Promise<string[]> {
  const wanted = texts.map(componentName);
  // A single one the mirror itself looks at before it does anything.
  if (wanted.length === 1) return wanted;
  const { components, waitsFor } = await askStatus(mirror, flags);
  if (waitsFor !== null) return wanted; // it refuses everything, and says why
  const found = wanted.map((text) => {
    const component = components.find(({ name, uuid }) => [name, uuid].includes(text));
    if (component !== undefined) return component;
    const known = components.map(({ name }) => name).join(', ');
    throw new CommandError(`mirror/${mirror} has no component ${text}; it has ${known}. Nothing was done`);
  });
  requireOnce(found.map(({ name }) => name));
  const isLeft = components.some((one) => one.state === 'ACTIVE' && !found.includes(one));
  if (isOneKept && !isLeft) {
    throw new CommandError(`mirror/${mirror} would be left without an ACTIVE component; nothing was done`);
  }
  return wanted;
}
