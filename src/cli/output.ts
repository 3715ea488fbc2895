/** Whoever reads our output may leave early, as in `ggmirror info … | head -1`; that is no error of anyone. */
export function endQuietlyWithoutReader(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

/** Prints a result: one JSON object on one line, or lines for a person. */
export function printResult(isJson: boolean, value: object, lines: () => readonly string[]): void {
  process.stdout.write(isJson ? `${JSON.stringify(value)}\n` : lines().map((line) => `${line}\n`).join(''));
}

/** 'name:   value' lines with the values in one column. */
export function alignPairs(pairs: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 1;
  return pairs.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${value}`);
}
