// Which ci-egress is used: the one that is named, the one on PATH, or this checkout's own.

import { accessSync, constants } from 'node:fs';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { run, runAsRoot } from './root.mjs';
import { Refusal, input, say, showFolded } from './workflow.mjs';

const CHECKOUT = dirname(dirname(fileURLToPath(import.meta.url)));
const OWN = join(CHECKOUT, '.venv', 'bin', 'ci-egress');

/** The absolute path of the ci-egress to use, set up where there is none. Throws Refusal. */
export function provideCiEgress() {
  const named = input('ci-egress');
  if (named) {
    const path = resolve(named);
    if (!isExecutable(path)) throw new Refusal(`ci-egress: ${path} is no program`, 'name the installed ci-egress');
    return path;
  }
  return onPath() ?? (isExecutable(OWN) ? OWN : setUp());
}

function onPath() {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  return folders.map((folder) => join(folder, 'ci-egress')).find(isExecutable);
}

// Packages as root, all else as the runner's user: what root leaves in the folder of the actions, a runner that lives
// on can't delete.
function setUp() {
  say(`ci-egress is not on PATH: setting it up in ${CHECKOUT}`);
  const script = join(CHECKOUT, 'tools', 'setup.sh');
  for (const setup of [runAsRoot([script, '--system-only']), run(script, ['--no-system'])]) {
    showFolded('Setting up ci-egress', setup.lines);
    if (setup.status !== 0) {
      throw new Refusal('ci-egress could not be set up', 'see the lines above, or install it on the runner beforehand');
    }
  }
  return OWN;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
