import { describe, expect, test } from 'vitest';
import { decideOptions } from '../../src/cli/mirrors/start-options.js';
import { settingsOf } from '../../src/cli/mirrors/start-settings.js';
import { settingsWarnings } from '../../src/cli/mirrors/warnings.js';
import { absoluteComponent } from '../../src/control/component-spec.js';

const TLS = { nbdTlsCert: '/cert.pem', nbdTlsKey: '/key.pem' };

describe('who starts a mirror is warned of', () => {
  test.each([
    [{}, null],
    [{ nbdPort: 10_809 }, 'every user of this machine can read and overwrite mirror/data at NBD port 10809'],
    [{ nbdPort: 1, nbdAddress: '::1' }, 'every user of this machine'],
    [{ nbdPort: 1, nbdAddress: '0.0.0.0' }, 'everyone who reaches 0.0.0.0 can read and overwrite'],
    [{ nbdPort: 1, nbdAddress: '10.0.0.1', ...TLS }, 'TLS alone keeps nobody out'],
    [{ nbdPort: 1, nbdAddress: '10.0.0.1', ...TLS, nbdTlsCa: '/ca.pem' }, null],
  ])('an NBD port that anyone can use: %j', (given, warning) => {
    const settings = settingsOf('data', [absoluteComponent('/a.img')], decideOptions(given));
    const warnings = settingsWarnings(settings);
    expect(warnings).toHaveLength(warning === null ? 0 : 1);
    if (warning !== null) expect(warnings[0]).toContain(warning);
  });
});
