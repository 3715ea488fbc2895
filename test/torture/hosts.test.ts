import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../support/until.js';
import { canMakeHosts, Hosts, type Cable, type CableTrouble, type Host } from './hosts.js';

/** What is sent while a cable is in trouble. */
const WORDS = 30;
/** Sends numbers to the other end, tells those that it hears, and, when it is asked, which one it has sent last. */
const TALKER = `
const socket = require('node:dgram').createSocket('udp4');
const [own, other] = process.argv.slice(1);
let number = 0;
socket.on('error', () => undefined);
socket.on('message', (text) => console.log('heard ' + text));
socket.bind(9, own, () => setInterval(() => socket.send(String(++number), 9, other, () => undefined), 10));
process.stdin.on('data', () => console.log('sent ' + number));
`;

/** A program at one end of a cable. */
class Talker {
  /** Numbers, in order. */
  readonly heard: number[] = [];
  readonly #sent: number[] = [];
  readonly #child: ChildProcessWithoutNullStreams;

  constructor(host: Host, own: string, other: string) {
    const [command, ...words] = host.enter;
    this.#child = spawn(command, [...words, process.execPath, '-e', TALKER, own, other]);
    let rest = '';
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const [what, number] of lines.map((line) => line.split(' ')))
        (what === 'heard' ? this.heard : this.#sent).push(Number(number));
    });
  }

  /** Which number it has sent last: all greater ones are sent after the call. */
  async sent(): Promise<number> {
    const before = this.#sent.length;
    this.#child.stdin.write('?');
    return await until('an answer', () => this.#sent[before]);
  }

  async hears(number: number): Promise<void> {
    await until(`${number} or more to be heard`, () => this.heard.some((one) => one >= number));
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

let hosts: Hosts;
let talkers: Talker[];

beforeEach(() => {
  talkers = [];
});

afterEach(async () => {
  for (const talker of talkers) await talker.end();
  hosts.remove();
});

/** Both ends of a cable, as they hear each other. */
async function talk({ host, primaryAddress, backupAddress }: Cable): Promise<[Talker, Talker]> {
  const primary = new Talker(hosts.primary, primaryAddress, backupAddress);
  talkers.push(primary);
  const backup = new Talker(host, backupAddress, primaryAddress);
  talkers.push(backup);
  await primary.hears(1);
  await backup.hears(1);
  return [primary, backup];
}

test.skipIf(!canMakeHosts()).each<[CableTrouble, { readonly there: boolean; readonly back: boolean }]>([
  ['pulled', { there: false, back: false }],
  ['silent', { there: false, back: false }],
  ['there', { there: false, back: true }],
  ['back', { there: true, back: false }],
  ['slow', { there: true, back: true }],
])(
  'a cable in trouble (%s) lets through what it should, and everything when it is healed',
  async (trouble, passes) => {
    hosts = new Hosts(1);
    const [cable] = hosts.cables;
    if (cable === undefined) throw new Error('no cable');
    const [primary, backup] = await talk(cable);
    cable.break(trouble);
    const ways = [
      { from: primary, to: backup, isOpen: passes.there, first: await primary.sent() },
      { from: backup, to: primary, isOpen: passes.back, first: await backup.sent() },
    ];
    for (const { from, to, isOpen, first } of ways) {
      if (isOpen) await to.hears(first + WORDS);
      await until('more to be sent', async () => (await from.sent()) > first + WORDS);
    }
    // Not after it is healed: a kernel keeps some of what it could not send.
    for (const { to, isOpen, first } of ways) expect(to.heard.some((number) => number > first)).toBe(isOpen);
    cable.heal();
    for (const { from, to } of ways) await to.hears((await from.sent()) + 1);
  },
);
