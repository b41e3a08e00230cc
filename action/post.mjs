// Runs when the job is over, however it ended.

import { endTracing, judge } from './ending.mjs';
import { begunIn, stop } from './watch.mjs';
import { fail, say, state } from './workflow.mjs';

async function post() {
  const folder = state('folder');
  if (state('watch') === '') {
    await endHalfBegun(folder);
    return;
  }
  const ending = await endTracing(folder, JSON.parse(state('watch')), state('token'));
  if (ending) judge(ending);
}

// Where main failed, it has ended what it started; where it was cancelled, it could not.
async function endHalfBegun(folder) {
  const watch = folder === '' ? undefined : await begunIn(folder);
  if (watch) await stop(folder, watch, state('token'));
  say(`ci-egress: tracing did not begin${watch ? ', and what had been started is ended' : ''}`);
}

await post().catch(fail);
