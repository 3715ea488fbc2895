import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { replies } from '../support/requests.js';
import { makeScratch } from '../support/scratch.js';
import { startServer } from '../support/session-server.js';
import { afterTranscript, bySeq, play, recordedAnswers, REPEATABLE } from '../support/transcript-play.js';

describe('a recorded FreeBSD client', () => {
  test.each(REPEATABLE)(
    'gets from our server what it got from ggated: $name',
    async ({ name, mode, image }) => {
      const scratch = makeScratch();
      const path = scratch.path('disk.img');
      writeFileSync(path, image);
      const server = await startServer([path], { allow: [`127.0.0.1,${mode}`] });
      try {
        const recorded = recordedAnswers(name);
        const ours = await play(name, server.port, path, recorded.length);
        // A flush is answered when the disk has flushed, so others may come before it; a client goes by the number.
        expect(bySeq(replies(ours))).toEqual(bySeq(replies(recorded)));
        expect(readFileSync(path).equals(afterTranscript(name, image))).toBe(true);
      } finally {
        await server.close();
        scratch.remove();
      }
    },
  );
});
