/** Whoever reads our output may leave early, as in `ggmirror info … | head -1`; that is no error of anyone. */
export function writeQuietly(stream: NodeJS.WriteStream, text: string): void {
  if (stream.listenerCount('error', endWithoutReader) === 0) stream.on('error', endWithoutReader);
  stream.write(text);
}

function endWithoutReader(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit();
  throw error;
}

/** Prints a result: one JSON object on one line, or lines for a person. */
export function printResult(isJson: boolean, value: object, lines: () => readonly string[]): void {
  const text = isJson ? JSON.stringify(value) : lines().join('\n');
  writeQuietly(process.stdout, `${text}\n`);
}

/** 'name:   value' lines with the values in one column. */
export function alignPairs(pairs: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 1;
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${value}`);
}
