/**
 * The order in which gmirror keeps its components: highest priority first, among equals the one that came last. Takes
 * priorities in order of arrival, returns their indices. Source: gmirror metadata spec, section 4.
 */
export const listOrder = (priorities: readonly number[]): number[] =>
  priorities
    .map((priority, index) => ({ priority, index }))
    .sort((one, other) => other.priority - one.priority || other.index - one.index)
    .map(({ index }) => index);
