// What a step hands to the runner is in files that stay until the job is over, and each later step can read them.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { Refusal } from './workflow.mjs';

const PYTHON = '/usr/bin/python3'; // which ci-egress needs, too
const NO_INSTANCE = /inotify_init1: Too many open files$/; // of the user's; forget.py has few of its own
const FORGET = fileURLToPath(new URL('forget.py', import.meta.url));

/** From here on `files` are emptied as soon as somebody has read them: the runner, when this step is over. Throws Refusal. */
export async function readOnce(files) {
  const child = spawn(PYTHON, ['-I', '-S', FORGET, ...files], { cwd: '/', detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => { said += text; });
  const isReady = await new Promise((resolve) => {
    child.once('error', (error) => { said = error.message; resolve(false); });
    child.once('close', () => resolve(false));
    child.stdout.once('data', () => resolve(true));
  });
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  child.unref();
  if (!isReady) {
    const last = said.trim().split('\n').pop();
    throw new Refusal(`nobody can empty the files that the runner reads: ${last}`, hintFor(last));
  }
}

function hintFor(said) {
  if (NO_INSTANCE.test(said)) return 'raise the limit fs.inotify.max_user_instances, which this user has used up';
  return `install ${PYTHON}, which ci-egress needs`;
}
