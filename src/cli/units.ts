import { InvalidArgumentError } from 'commander';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** '512 B', '4 KiB', '1.46 GiB': three digits at least, exact numbers without a fraction. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unitIndex = 0;
  while (value >= 1024 && unitIndex < UNITS.length - 1) {
    value /= 1024;
    unitIndex += 1;
  }
  return `${formatQuantity(value)} ${UNITS[unitIndex] ?? ''}`;
}

export const formatRate = (bytesPerSecond: number): string => `${formatBytes(bytesPerSecond)}/s`;

function formatQuantity(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** '0 s', '59 s', '3 min 20 s', '2 h 05 min', '3 d 4 h'. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${pad(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${pad(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

const pad = (value: number): string => String(value).padStart(2, '0');

/** '87.4 us', '1.32 ms', '2.05 s'. Plain ASCII, so that it survives any terminal. */
export function formatMilliseconds(ms: number): string {
  if (ms < 1) return `${formatQuantity(ms * 1000)} us`;
  return ms < 1000 ? `${formatQuantity(ms)} ms` : `${formatQuantity(ms / 1000)} s`;
}

/** '1,234,567'. */
export const formatCount = (count: number): string => Math.round(count).toLocaleString('en-US');

/** Reads a number of bytes such as 4096, 4k, 1M or 2GiB; always powers of 1024. For commander's options. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  const power = 'kmgt'.indexOf(match?.[2]?.toLowerCase() ?? '') + 1;
  const bytes = Number(match?.[1]) * 1024 ** (match?.[2] === '' ? 0 : power);
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('expected a number of bytes such as 4096, 128k or 1M');
  }
  return bytes;
}

/** Reads an integer from `min` to `max`. For commander's options. */
export function parseInteger(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

/** Reads a positive number of seconds, fractions allowed. For commander's options. */
export function parseSeconds(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0 || value > 1e7) {
    throw new InvalidArgumentError('expected a number of seconds greater than 0');
  }
  return value;
}
