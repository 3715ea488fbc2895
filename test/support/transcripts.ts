import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** One chunk of a recorded conversation; `bytes` is empty where that side closed. */
export interface TranscriptChunk {
  /** 0: the server sends its answers on it; 1: it receives requests on it. */
  readonly conn: number;
  readonly from: 'client' | 'server';
  readonly bytes: Buffer;
  readonly eof: boolean;
}

/** Reads a recording of test/fixtures/transcripts by its name without endings. */
export function readTranscript(name: string): TranscriptChunk[] {
  const file = new URL(`../fixtures/transcripts/${name}.jsonl.gz`, import.meta.url);
  const lines = gunzipSync(readFileSync(file)).toString('utf8').trim().split('\n');
  return lines.map((line) => {
    const { conn, from, hex, eof } = JSON.parse(line) as {
      conn: number;
      from: 'client' | 'server';
      hex?: string;
      eof?: boolean;
    };
    return { conn, from, bytes: Buffer.from(hex ?? '', 'hex'), eof: eof === true };
  });
}

/** All that one side sent on one connection. */
export const streamOf = (
  chunks: readonly TranscriptChunk[],
  conn: number,
  from: 'client' | 'server',
): Buffer =>
  Buffer.concat(
    chunks.filter((chunk) => chunk.conn === conn && chunk.from === from).map(({ bytes }) => bytes),
  );

/** Byte i of the exported images of 64 KiB at the start of a recording. */
export function transcriptImage(): Buffer {
  return Buffer.from(Array.from({ length: 65_536 }, (_, at) => (7 * at + 13 * Math.floor(at / 256)) % 256));
}
