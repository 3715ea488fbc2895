/** What a command says about the components that it is given. */
export const COMPONENT_HELP =
  'ggate://host[:port]/path (ggates:// for TLS), an image file or a disk; ' +
  'PROVIDER,area=FILE for one whose private area is in a file';

export const LABELLED_COMPONENT_HELP = `${COMPONENT_HELP}; PROVIDER,priority=NUMBER for one that reads prefer the higher it is`;

/** What one says that runs a mirror. */
export const RUNNING_COMPONENT_HELP = `${LABELLED_COMPONENT_HELP}; PROVIDER,timeout=SECONDS for one that is dropped when it is silent for so long`;
