import { isIPv4, isIPv6 } from 'node:net';
import { assert } from './errors.js';

export type IpFamily = 4 | 6;

/** `value` is the address as one number, below 2^32 or 2^128. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly value: bigint;
}

/** All addresses of a family whose first `prefixBits` bits are those of `network`, which is a whole address. */
export interface AddressBlock {
  readonly family: IpFamily;
  readonly network: bigint;
  readonly prefixBits: number;
}

/** How many bits an address of this family has. */
export const addressBits = (family: IpFamily): number => (family === 4 ? 32 : 128);

const MAPPED_PREFIX_BITS = 96;
const MAPPED_PREFIX = 0xffffn;

/**
 * Reads an IPv4 address in any form that inet_addr(3) takes: one to four parts, each decimal, octal (0...) or
 * hexadecimal (0x...), the last part filling the bytes that are left, so `10.1` is 10.0.0.1. Null for anything else.
 */
export function parseInetAddress(text: string): IpAddress | null {
  const parts = text.split('.');
  if (parts.length > 4) return null;
  let value = 0n;
  for (const [index, part] of parts.entries()) {
    if (!/^(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return null;
    const isOctal = /^0\d/.test(part);
    const number = BigInt(isOctal ? `0o${part.slice(1)}` : part);
    const bytes = index === parts.length - 1 ? 4 - index : 1;
    if (number >= 256n ** BigInt(bytes)) return null;
    value = value * 256n ** BigInt(bytes) + number;
  }
  return { family: 4, value };
}

/** Reads an IPv6 address without a zone. Null for anything else. */
export function parseIpv6Address(text: string): IpAddress | null {
  if (!isIPv6(text) || text.includes('%')) return null;
  // A dotted tail stands for the last two groups.
  const tail = /:(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const groupsText =
    tail === null ? text : `${text.slice(0, tail.index)}:${tailGroups(tail.slice(1, 5).map(Number))}`;
  const [head = '', rest] = groupsText.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = rest === undefined || rest === '' ? [] : rest.split(':');
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  const groups = [...before, ...zeros, ...after];
  assert(groups.length === 8, `an IPv6 address of ${groups.length} groups`);
  return {
    family: 6,
    value: groups.reduce((value, group) => value * 0x1_0000n + BigInt(`0x${group}`), 0n),
  };
}

const tailGroups = ([a = 0, b = 0, c = 0, d = 0]: readonly number[]): string =>
  `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;

/**
 * Reads a numeric address as a socket reports it: a zone is dropped, and an IPv4 address that is mapped into IPv6 (as a
 * dual-stack listener sees IPv4 clients) comes out as IPv4. Null for anything else.
 */
export function parsePeerAddress(text: string): IpAddress | null {
  if (isIPv4(text)) return parseInetAddress(text);
  const address = parseIpv6Address(text.replace(/%.*$/, ''));
  if (address === null || !isMapped(address.value)) return address;
  return { family: 4, value: address.value % 2n ** 32n };
}

const isMapped = (value: bigint): boolean => value / 2n ** 32n === MAPPED_PREFIX;

/**
 * The block around an address; bits beyond the prefix are cleared. A block of IPv4-mapped IPv6 addresses becomes the
 * IPv4 block that it means, because peers are known by their IPv4 address. `prefixBits` is 0 to `addressBits`.
 */
export function addressBlock(address: IpAddress, prefixBits: number): AddressBlock {
  assert(
    prefixBits >= 0 && prefixBits <= addressBits(address.family),
    `a prefix of ${prefixBits} bits for IPv${address.family}`,
  );
  const { family, value } = address;
  if (family === 6 && prefixBits >= MAPPED_PREFIX_BITS && isMapped(value)) {
    return addressBlock({ family: 4, value: value % 2n ** 32n }, prefixBits - MAPPED_PREFIX_BITS);
  }
  const hosts = blockSize(family, prefixBits);
  return { family, network: (value / hosts) * hosts, prefixBits };
}

export function isInBlock(block: AddressBlock, address: IpAddress): boolean {
  if (block.family !== address.family) return false;
  const hosts = blockSize(block.family, block.prefixBits);
  return address.value / hosts === block.network / hosts;
}

const blockSize = (family: IpFamily, prefixBits: number): bigint =>
  2n ** BigInt(addressBits(family) - prefixBits);
