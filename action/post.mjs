// Runs when the job is over, however it ended.

import { endTracing, judge } from './ending.mjs';
import { folderOfJob } from './options.mjs';
import { begunIn, stop } from './watch.mjs';
import { Refusal, fail, say, state } from './workflow.mjs';

async function post() {
  if (state('began') === '') {
    await endHalfBegun(folderOfJob());
    throw new Refusal(
      'what the runner kept for this step is gone, so nobody knows what was traced',
      "a process that isn't of the runner read it first: have this action be the job's first step",
    );
  }
  if (state('watch') === '') {
    const watch = await endHalfBegun(state('folder'));
    say(`ci-egress: tracing did not begin${watch ? ', and what had been started is ended' : ''}`);
    return;
  }
  const ending = await endTracing(state('folder'), JSON.parse(state('watch')), state('token'));
  if (ending) judge(ending);
}

// Where main failed, it has ended what it started; where it was cancelled, or nobody knows of it any more, it has not.
async function endHalfBegun(folder) {
  const watch = folder === '' ? undefined : await begunIn(folder);
  if (watch) await stop(folder, watch, state('token'));
  return watch;
}

await post().catch(fail);
