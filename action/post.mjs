// Runs when the job is over, however it ended.

import { endTracing, judge } from './ending.mjs';
import { fail, say, state } from './workflow.mjs';

async function post() {
  const folder = state('folder');
  if (folder === '') {
    say('ci-egress: nothing to end, since tracing did not begin');
    return;
  }
  const ending = await endTracing(folder, JSON.parse(state('watch')));
  if (ending) judge(ending);
}

await post().catch(fail);
