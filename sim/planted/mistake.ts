import type { Way } from '../life.js';

/** A mistake that the product could have. While it is planted, product code is patched; the product has no switches. */
export interface Mistake {
  /** A sentence that fits between double quotes of a shell. */
  readonly name: string;
  /** How lives are lived that find it; over `queue` if left out. */
  readonly way?: Way;
  /** What the life that finds it says, where one check is to find it; the others would not. */
  readonly saying?: RegExp;
  /** Returns what takes it out again. */
  readonly plant: () => () => void;
}

/** Puts functions in place of methods. */
export function patch<Class extends object>(
  prototype: Class,
  methods: { [Name in keyof Class]?: unknown },
): () => void {
  const before = Object.getOwnPropertyDescriptors(prototype);
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  return () => {
    for (const name of Object.keys(methods)) {
      const descriptor = before[name as keyof typeof before] as PropertyDescriptor | undefined;
      if (descriptor !== undefined) Object.defineProperty(prototype, name, descriptor);
    }
  };
}
