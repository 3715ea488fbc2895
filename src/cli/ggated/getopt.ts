export interface GetoptResult {
  /** In the order given, so that a later one wins. `value` is null for an option that takes none. */
  readonly options: readonly { readonly letter: string; readonly value: string | null }[];
  readonly operands: readonly string[];
  /** What getopt(3) would say of the first mistake, without the program's name; null if there is none. */
  readonly error: string | null;
}

/**
 * Reads a command line as getopt(3) does: letters may be joined (-nv), a value may follow its letter at once (-p3080) or
 * as the next word, and the first word that is no option, or `--`, ends the options. `letters` is getopt's own option
 * string: each letter, with a colon behind those that take a value.
 */
export function getopt(words: readonly string[], letters: string): GetoptResult {
  const options: { letter: string; value: string | null }[] = [];
  let next = 0;
  const fail = (error: string): GetoptResult => ({ options, operands: [], error });
  for (; next < words.length; next++) {
    const word = words[next] ?? '';
    if (word === '--') {
      next += 1;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    for (let at = 1; at < word.length; at++) {
      const letter = word.charAt(at);
      const known = letter === ':' ? -1 : letters.indexOf(letter);
      if (known === -1) return fail(`illegal option -- ${letter}`);
      if (letters.charAt(known + 1) !== ':') {
        options.push({ letter, value: null });
        continue;
      }
      const rest = word.slice(at + 1);
      if (rest === '') next += 1;
      const value = rest === '' ? words[next] : rest;
      if (value === undefined) return fail(`option requires an argument -- ${letter}`);
      options.push({ letter, value });
      break;
    }
  }
  return { options, operands: words.slice(next), error: null };
}
