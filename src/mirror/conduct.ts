import type { MirrorSettings } from './area/meta-store.js';
import { balanceOfLabel, defaultBalance } from './balance.js';
import type { ComponentIdentity } from './component.js';
import type { Conduct, MirrorOptions } from './mirror-options.js';

interface Member {
  readonly identity: Pick<ComponentIdentity, 'isLocal'>;
}

/** How a mirror works that has just been started; see conductNow(). */
export function firstConduct({ balance, sliceBytes, isAutosync }: MirrorOptions): Conduct {
  return { algorithm: balance ?? 'load', isAsLabelled: balance === undefined, sliceBytes, isAutosync };
}

/**
 * The same, with the algorithm that the labels stand for with these components. A label has no number for prefer-local:
 * where some components are local and some are not, 'prefer' in a label is that, and nothing else. Without labels it is
 * what `conduct` has.
 */
export function conductNow(
  conduct: Conduct,
  settings: Pick<MirrorSettings, 'balance'> | null,
  components: readonly Member[],
): Conduct {
  if (!conduct.isAsLabelled || settings === null) return conduct;
  const labelled = balanceOfLabel(settings.balance);
  const isLocalPreferred = defaultBalance(components.map(({ identity }) => identity)) === 'prefer-local';
  const algorithm = labelled === 'prefer' && isLocalPreferred ? 'prefer-local' : labelled;
  return { ...conduct, algorithm };
}
