// The action `stop`: the same as post, for those who want what is written before their job is over.

import { join } from 'node:path';

import { contents } from './contents.mjs';
import { endTracing, judge } from './ending.mjs';
import { places } from './options.mjs';
import { Refusal, fail, setOutput } from './workflow.mjs';

async function stop() {
  const folder = join(process.env.RUNNER_TEMP ?? '/tmp', 'ci-egress');
  const { otlpDir, report } = places(folder);
  setOutput('otlp-dir', otlpDir);
  setOutput('report', report);
  const watch = kept(places(folder).state);
  const ending = await endTracing(folder, watch);
  if (!ending) return;
  setOutput('status', `${ending.status ?? ''}`);
  judge(ending);
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
