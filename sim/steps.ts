export type ClientOp = 'read' | 'write' | 'write-zeroes' | 'trim' | 'flush';

/** How the mirror is started again after its process ended. */
export interface Restart {
  /** Index of the host; another one than before is a promotion. */
  readonly host: number;
  readonly afterMs: number;
  /** So long all components are waited for; then it is started without, if its own disk is known to be good. */
  readonly patienceMs: number;
}

export type MemberCommand = 'insert' | 'remove' | 'forget' | 'activate' | 'deactivate';

/** One thing that happens. Hosts are given by index; one that makes no sense at the moment is left out. */
export type Step =
  | { readonly kind: 'io'; readonly op: ClientOp; readonly firstSector: number; readonly sectorCount: number }
  /** The mirror's process is killed. */
  | { readonly kind: 'kill'; readonly restart: Restart }
  /** The mirror is stopped cleanly. */
  | { readonly kind: 'stop'; readonly restart: Restart }
  /** A host loses its power, for so long. */
  | { readonly kind: 'power'; readonly host: number; readonly offMs: number; readonly restart: Restart }
  /** All do. */
  | { readonly kind: 'blackout'; readonly offMs: number; readonly restart: Restart }
  | { readonly kind: 'server'; readonly host: number }
  | {
      readonly kind: 'cut';
      readonly host: number;
      readonly other: number;
      readonly forMs: number;
      /** Only what `host` sends is lost. */
      readonly isOneWay?: boolean;
    }
  /** What `host` sends to `other` waits. */
  | { readonly kind: 'stall'; readonly host: number; readonly other: number; readonly forMs: number }
  | { readonly kind: 'hang'; readonly host: number; readonly forMs: number }
  | { readonly kind: 'slow'; readonly host: number; readonly latencyMs: number; readonly forMs: number }
  | {
      readonly kind: 'fail';
      readonly host: number;
      readonly op: 'read' | 'write' | 'flush';
      readonly count: number;
    }
  /** The next flush of a host's disk fails, and in that very moment somebody is killed. */
  | {
      readonly kind: 'doom';
      readonly host: number;
      readonly who: 'mirror' | 'server';
      readonly restart: Restart;
    }
  | { readonly kind: 'bad'; readonly host: number; readonly sector: number }
  /** The next read of its private area gets one block from another place. */
  | { readonly kind: 'misdirect'; readonly host: number; readonly which: number }
  /** The clocks of all programs on that host go on by so much at once. */
  | { readonly kind: 'jump'; readonly host: number; readonly byMs: number }
  | { readonly kind: 'rebuild'; readonly host: number }
  /** An operator's command about who is a component. */
  | { readonly kind: 'members'; readonly what: MemberCommand; readonly host: number }
  | { readonly kind: 'verify'; readonly isRepairing: boolean }
  /** Looks what a loss of power at this moment would leave. */
  | { readonly kind: 'look' };

export interface PlannedStep {
  readonly atMs: number;
  readonly step: Step;
}
