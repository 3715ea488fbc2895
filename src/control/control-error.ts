export interface ControlErrorOptions extends ErrorOptions {
  /** It would be done if it were asked for with force. */
  readonly isForceWanted?: boolean;
}

/** A request that can't be carried out; the message is a line for the person who asked. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly isForceWanted: boolean;

  constructor(message: string, options: ControlErrorOptions = {}) {
    super(message, options);
    this.isForceWanted = options.isForceWanted === true;
  }
}
