// Which ci-egress is used: the one that is named, the one on PATH, or this checkout's own.

import { accessSync, constants, readlinkSync, realpathSync, statSync } from 'node:fs';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { asRoot, follow, throughProxy } from './root.mjs';
import { Refusal, input, say, showFoldedWhile } from './workflow.mjs';

const CHECKOUT = dirname(dirname(fileURLToPath(import.meta.url)));
const OWN = join(CHECKOUT, '.venv', 'bin', 'ci-egress');
const SETUP_LIMIT_S = 300; // for the packages, and again for the rest: five times what it takes
const TIMED_OUT = [124, 137]; // what `timeout` says then, after SIGTERM and after SIGKILL
const STICKY = 0o1000; // S_ISVTX
const HOST_PIDS = 'pid:[4026531836]'; // PROC_PID_INIT_INO of the kernel

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

// Root is to run it, so it is none that this user could have put there, or put another in the place of: a job before.
function onPath() {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  const found = folders.map((folder) => join(folder, 'ci-egress')).filter(isExecutable);
  if (process.getuid() === 0) return found[0];
  const taken = found.find(isOutOfReach);
  if (!taken && found.length) {
    say(`${found[0]} isn't used, as a job could have put it there; where root put it, name it by the input ci-egress`);
  }
  return taken && realpathSync(taken);
}

function isOutOfReach(path) {
  return [dirname(path), realpathSync(path)].every((place) => above(realpathSync(place)).every(isOthers));
}

function above(path) {
  return path === dirname(path) ? [path] : [path, ...above(dirname(path))];
}

// Who may write to a folder that is sticky, as /tmp is, may replace only what is his in there.
function isOthers(path) {
  const { uid, mode } = statSync(path);
  return uid !== process.getuid() && (Boolean(mode & STICKY) || !may(path, constants.W_OK));
}

// Packages as root, all else as the runner's user: what root leaves in the folder of the actions, a runner that lives
// on can't delete.
function setUp() {
  refuseContainer();
  say(`no ci-egress for root is on PATH: setting one up in ${CHECKOUT}`);
  const script = join(CHECKOUT, 'tools', 'setup.sh');
  const limited = ['timeout', '--kill-after=10', `${SETUP_LIMIT_S}`, script];
  const [file, ...args] = [...limited, '--no-system'];
  for (const step of [asRoot([...limited, '--system-only'], throughProxy()), { file, args, env: process.env }]) {
    const status = showFoldedWhile('Setting up ci-egress', () => follow(step));
    if (status !== 0) throw notSetUp(status);
  }
  return OWN;
}

// What `ci-egress doctor` would say there once it is set up, which takes minutes, or never ends without network.
function refuseContainer() {
  const namespace = pidNamespace();
  if (namespace === HOST_PIDS) return;
  throw new Refusal(
    `ci-egress can't trace from within this job's container, which has pids of its own (${namespace})`,
    "run such commands by `docker run` in a job without `container:`, or have `ci-egress watch` on the runner's host; " +
      'where the runner itself is in a pod, on its node (docs/how-to/kubernetes.md)',
  );
}

function pidNamespace() {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return HOST_PIDS; // without /proc nothing is known; `ci-egress doctor` says what is missing
  }
}

function notSetUp(status) {
  if (!TIMED_OUT.includes(status)) {
    return new Refusal('ci-egress could not be set up', 'see the lines above, or install it on the runner beforehand');
  }
  return new Refusal(
    `ci-egress could not be set up within ${SETUP_LIMIT_S} s`,
    'the last of the lines above says what it waited for; without a network, install it on the runner beforehand',
  );
}

function isExecutable(path) {
  return may(path, constants.X_OK);
}

function may(path, how) {
  try {
    accessSync(path, how);
    return true;
  } catch {
    return false;
  }
}
