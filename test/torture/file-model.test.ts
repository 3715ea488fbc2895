import { describe, expect, test } from 'vitest';
import { FileModel } from './file-model.js';

const SEED = 5;
const file = (): FileModel => new FileModel(3, SEED);

/** Its content, as a disk that loses nothing has it. */
function synced(model: FileModel, number: number): Buffer {
  const content = model.replace(number, 4);
  model.synced();
  return content;
}

describe('what a file may hold after a crash', () => {
  test('is what was synced, and nothing older', () => {
    const model = file();
    const old = synced(model, 1);
    const current = synced(model, 2);
    expect(model.wrongAfterCrash(current)).toBeNull();
    expect(model.wrongAfterCrash(old)).toBe('sector 0 has 1, and should have 2');
    expect(model.wrongAfterCrash(null)).toBe('is not there');
    expect(model.wrongAfterCrash(current.subarray(512))).toBe('has 1536 bytes, not 2048');
  });

  test('is the content before or after a replacement that did not come to its end, and no mixture', () => {
    const model = file();
    const old = synced(model, 1);
    const current = model.replace(2, 4);
    expect(model.wrongAfterCrash(old)).toBeNull();
    expect(model.wrongAfterCrash(current)).toBeNull();
    expect(model.wrongAfterCrash(Buffer.concat([old.subarray(0, 512), current.subarray(512)]))).toContain(
      'sector 1 has 2, and should have 1; or sector 0 has 1, and should have 2',
    );
  });

  test('has any of the sectors that were written in place and not synced, and stays as it was found', () => {
    const model = file();
    const content = Buffer.from(synced(model, 1));
    const [, second] = [model.overwrite(2, 0, 1), model.overwrite(3, 2, 1)];
    second.copy(content, 2 * 512);
    expect(model.wrongNow(content)).toBe('sector 0 has 1, and should have 2');
    expect(model.wrongAfterCrash(content)).toBeNull();
    model.settle(content);
    expect(model.wrongNow(content)).toBeNull();
    second.copy(content, 512);
    expect(model.wrongAfterCrash(content)).toBe('sector 1 has content of sector 12290, and should have 1');
  });

  test('may be gone once it is about to be removed, and must be when that was synced', () => {
    const model = file();
    const content = synced(model, 1);
    model.remove();
    expect([model.wrongAfterCrash(content), model.wrongAfterCrash(null)]).toEqual([null, null]);
    model.synced();
    expect(model.wrongAfterCrash(content)).toBe('is there, and was removed');
  });
});
