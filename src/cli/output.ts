/** Whoever reads our output may leave early, as in `ggmirror info … | head -1`; that is no error of anyone. */
export function writeQuietly(stream: NodeJS.WriteStream, text: string): void {
  if (stream.listenerCount('error', endWithoutReader) === 0) stream.on('error', endWithoutReader);
  stream.write(text);
}

function endWithoutReader(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit();
  throw error;
}

/** A result with its line ends: JSON on one line, or lines for a person. */
export function resultText(isJson: boolean, value: object, lines: () => readonly string[]): string {
  if (isJson) return `${JSON.stringify(value)}\n`;
  return lines()
    .map((line) => `${line}\n`)
    .join('');
}

export const printResult = (isJson: boolean, value: object, lines: () => readonly string[]): void =>
  writeQuietly(process.stdout, resultText(isJson, value, lines));

/** 'name:   value' lines with the values in one column. */
export function alignPairs(pairs: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 1;
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${value}`);
}
