// Files of the folder that a job shares: a step may have put anything in their place.

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

/** What is in a file, as bytes; nobody is waited for. Throws Error where none is there, or what is no file. */
export function contents(path) {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(descriptor).isFile()) throw new Error(`${path} is no file`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
