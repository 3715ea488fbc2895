import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Scratch } from './scratch.js';

/** Paths of PEM files, and what is in them. */
export interface Certificate {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

const openssl = (...args: readonly string[]): void => void execFileSync('openssl', args, { stdio: 'ignore' });

/** Certificates made by openssl in a test's folder, good for a day. */
export class CertificateMaker {
  constructor(private readonly scratch: Scratch) {}

  authority(name: string): Certificate {
    const { certificateFile, keyFile } = this.#files(name);
    openssl(
      ...[
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:prime256v1',
        '-nodes',
        '-days',
        '1',
      ],
      ...['-subj', `/CN=${name}`, '-keyout', keyFile, '-out', certificateFile],
    );
    return this.#read(name);
  }

  /** `subject` as in '/O=site/CN=primary'; `alternativeNames` as in 'DNS:primary.example.org,IP:127.0.0.1'. */
  sign(authority: Certificate, name: string, subject: string, alternativeNames?: string): Certificate {
    const { certificateFile, keyFile, requestFile, extensionFile } = this.#files(name);
    openssl(
      ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-subj', subject, '-keyout', keyFile, '-out', requestFile],
    );
    writeFileSync(
      extensionFile,
      alternativeNames === undefined ? '' : `subjectAltName=${alternativeNames}\n`,
    );
    openssl(
      ...['x509', '-req', '-in', requestFile, '-days', '1', '-CAcreateserial', '-extfile', extensionFile],
      ...['-CA', authority.certificateFile, '-CAkey', authority.keyFile, '-out', certificateFile],
    );
    return this.#read(name);
  }

  #files(name: string): Record<'certificateFile' | 'keyFile' | 'requestFile' | 'extensionFile', string> {
    return {
      certificateFile: this.scratch.path(`${name}.crt`),
      keyFile: this.scratch.path(`${name}.key`),
      requestFile: this.scratch.path(`${name}.csr`),
      extensionFile: this.scratch.path(`${name}.ext`),
    };
  }

  #read(name: string): Certificate {
    const { certificateFile, keyFile } = this.#files(name);
    return { certificateFile, keyFile, cert: readFileSync(certificateFile), key: readFileSync(keyFile) };
  }
}

/** Whether there is an openssl. In CI there has to be one. */
export function hasOpenssl(): boolean {
  try {
    openssl('version');
    return true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    return false;
  }
}
