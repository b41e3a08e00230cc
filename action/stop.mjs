// The action `stop`: the same as post, for those who want what is written before their job is over.

import { contents } from './contents.mjs';
import { endTracing, judge } from './ending.mjs';
import { folderOfJob, places, tokenOf } from './options.mjs';
import { Refusal, fail, input, setOutput } from './workflow.mjs';

async function stop() {
  const folder = folderOfJob();
  const { otlpDir, report } = places(folder);
  setOutput('otlp-dir', otlpDir);
  setOutput('report', report);
  const watch = kept(places(folder).state);
  const secret = given();
  const ending = await endTracing(folder, watch, tokenOf(secret), secret);
  if (!ending) return;
  setOutput('status', `${ending.status ?? ''}`);
  judge(ending);
}

// What any step could do without it, any step could hide behind.
function given() {
  const secret = input('token');
  if (/^[0-9a-f]{64}$/.test(secret)) return secret;
  throw new Refusal(
    'token is missing, so this step may not end the tracing',
    'give the step that uses the ci-egress action an `id`, and this one `with: token: ${{ steps.ID.outputs.token }}`',
  );
}

function kept(path) {
  const watch = parsed(path);
  if (Number.isInteger(watch?.pid) && typeof watch.started === 'string') return watch;
  throw new Refusal('nothing traces this job', 'use the ci-egress action in an earlier step');
}

function parsed(path) {
  try {
    return JSON.parse(contents(path).toString());
  } catch {
    return undefined;
  }
}

await stop().catch(fail);
