import { systemClock } from '../../device/clock.js';
import { InterruptedError } from '../errors.js';
import { formatSeconds } from '../units.js';
import { type CopyStory, tellOfCopying } from './copy-story.js';
import { type MirrorStory, tellOfTheMirror } from './mirror-story.js';
import { type DemoOptions, Stage } from './stage.js';

export interface DemoResult extends CopyStory {
  readonly folder: string;
  readonly seconds: number;
  readonly mirror: MirrorStory;
}

/** Runs the whole story and cleans up after it, whatever happens. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const stage = new Stage(options);
  try {
    return await tellStory(stage);
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    throw new InterruptedError('interrupted; everything is cleaned up', error.signalNumber);
  } finally {
    await stage.close();
    options.say(
      options.keep ? `\nThe images and the logs are in ${stage.folder}` : 'It leaves nothing behind.',
    );
  }
}

async function tellStory(stage: Stage): Promise<DemoResult> {
  const startedMs = systemClock.nowMs();
  stage.say('This shows what ggmirror does, on this machine alone and without privileges.');
  const copying = await tellOfCopying(stage);
  const mirror = await tellOfTheMirror(stage);
  const seconds = (systemClock.nowMs() - startedMs) / 1000;
  stage.say(`\nThe demo took ${formatSeconds(seconds)}.`);
  return { folder: stage.folder, seconds, ...copying, mirror };
}
