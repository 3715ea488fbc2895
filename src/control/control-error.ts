/** A request that can't be carried out; the message is a line for the person who asked. */
export class ControlError extends Error {
  override readonly name = 'ControlError';
}
