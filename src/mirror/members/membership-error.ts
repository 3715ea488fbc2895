/** A change of a mirror's members or settings that can't be had; the message is a line for the person who asked. */
export class MembershipError extends Error {
  override readonly name = 'MembershipError';
}
