/** A mirror can't be resized as it is; the message is a line for the person who wants it. */
export class ResizeError extends Error {
  override readonly name = 'ResizeError';
}
