// Begins to trace the job: everything that its later steps do is seen.

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';

import { artifactName } from './artifact.mjs';
import { provideCiEgress } from './install.mjs';
import { folderOfJob, places, tokenOf, watchEnvironment, watchOptions } from './options.mjs';
import { readOnce } from './once.mjs';
import { requireRoot, runAsRoot } from './root.mjs';
import { start, stop, traceOf } from './watch.mjs';
import { Refusal, fail, filesOfState, input, isTrue, mask, say, saveState, setOutput, showFolded } from './workflow.mjs';

const runner = process.ppid;

async function main() {
  saveState('began', 'true'); // before all else: where post hasn't got it, what the runner kept is gone
  if (process.platform !== 'linux') {
    throw new Refusal('ci-egress traces Linux only', "add `if: runner.os == 'Linux'` to this step");
  }
  const folder = folderOfJob();
  const secret = randomBytes(32).toString('hex');
  const token = tokenOf(secret);
  const options = watchOptions(folder, token);
  const kept = { hasSummary: isTrue('summary'), artifact: isTrue('report') ? artifactName(input('check-run-id')) : '' };
  requireRoot();
  const ciEgress = provideCiEgress();
  diagnose(ciEgress);
  makeFolder(folder);
  await handOver(secret, token);
  saveState('folder', folder); // from here on there is something to end, even if this is cancelled
  const watch = await start(folder, [ciEgress, 'watch', ...options], watchEnvironment(), secret);
  await requireRunner(folder, watch, token);
  keep(folder, { ...watch, ...kept });
  tell(folder, ciEgress);
}

function diagnose(ciEgress) {
  const doctor = runAsRoot([ciEgress, 'doctor'], watchEnvironment());
  showFolded('ci-egress doctor', doctor.lines);
  if (doctor.status !== 0) {
    throw new Refusal('ci-egress can\'t trace on this runner', 'the lines of `ci-egress doctor` above say what is missing');
  }
}

// Who has one of them ends the tracing, all others tamper with it. The runner alone keeps them, in its memory: the token
// for post, the secret for a step that the workflow gives it to, after which the job goes on. When it has read them, they
// are in no file, and in no step's environment. What post does with the token, a process of the job may see.
async function handOver(secret, token) {
  mask(secret); // also in logs of the runner's that say what it was handed
  mask(token);
  await readOnce(filesOfState());
  saveState('token', token);
  setOutput('token', secret);
}

// All folders are the runner's user's, who can empty them, whoever writes what is in them.
function makeFolder(folder) {
  try {
    mkdirSync(folder, { mode: 0o755 });
    mkdirSync(places(folder).otlpDir, { mode: 0o755 });
    mkdirSync(places(folder).end, { mode: 0o700 });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
    throw new Refusal('this job has begun to be traced already', 'use the action once in a job, as its first step');
  }
}

// The watch ends by itself once the runner is gone, but where that was so before it looked. No post comes then.
async function requireRunner(folder, watch, token) {
  if (process.ppid === runner) return;
  await stop(folder, watch, token);
  throw new Refusal('the runner of this job is gone', 'its own log may say why');
}

// For post, which nothing but the runner keeps it for; and in a file for the action `stop`.
function keep(folder, watch) {
  saveState('watch', JSON.stringify(watch));
  writeFileSync(places(folder).state, JSON.stringify(watch), { flag: 'wx', mode: 0o600 });
}

function tell(folder, ciEgress) {
  const { otlpDir, report } = places(folder);
  setOutput('trace-id', traceOf(folder));
  setOutput('otlp-dir', otlpDir);
  setOutput('report', report);
  setOutput('ci-egress', ciEgress);
  say(`ci-egress traces this job from here on, trace ${traceOf(folder)}`);
}

await main().catch(fail);
