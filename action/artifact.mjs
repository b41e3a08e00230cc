// Keeps the report as an artifact of the run: one page, which opens in the browser. What steps upload with
// actions/upload-artifact goes the same way; the source of @actions/artifact describes it.

import { createHash } from 'node:crypto';

import { contents } from './contents.mjs';

const SERVICE = '/twirp/github.actions.results.api.v1.ArtifactService';
const VERSION = 7; // of artifacts that needn't be archives
const LIMIT_MS = 30_000;
const TYPE = 'text/html';

/** Whether this is a GitHub that has such artifacts: github.com, or a company's at ghe.com. */
export function hasArtifacts() {
  const { ACTIONS_RESULTS_URL, ACTIONS_RUNTIME_TOKEN, GITHUB_SERVER_URL = '' } = process.env;
  const isHosted = /^https:\/\/(github\.com|[^/]+\.ghe\.com)\/?$/i.test(GITHUB_SERVER_URL);
  return Boolean(ACTIONS_RESULTS_URL && ACTIONS_RUNTIME_TOKEN && isHosted);
}

/** A name that no other job of the run has. */
export function artifactName(checkRunId) {
  const { GITHUB_JOB = 'job', RUNNER_TRACKING_ID = '' } = process.env;
  return `egress-${GITHUB_JOB}-${checkRunId || RUNNER_TRACKING_ID}.html`.replace(/[^\w.-]+/g, '-');
}

/** Upload the page at `path`; returns where it is to be seen. Throws Error, without a word of tokens or links. */
export async function upload(path, name) {
  const page = contents(path);
  const artifact = { ...runIds(), name };
  const { signed_upload_url: link } = await ask('CreateArtifact', { ...artifact, mime_type: TYPE, version: VERSION });
  await send(link, { method: 'PUT', headers: { 'x-ms-blob-type': 'BlockBlob', 'content-type': TYPE }, body: page });
  const hash = `sha256:${createHash('sha256').update(page).digest('hex')}`;
  const { artifact_id: id } = await ask('FinalizeArtifact', { ...artifact, size: `${page.length}`, hash });
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY, GITHUB_RUN_ID } = process.env;
  return `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}/actions/runs/${GITHUB_RUN_ID}/artifacts/${Number(id)}`;
}

// The service knows run and job by numbers of its own, which stand in the token.
function runIds() {
  const claims = JSON.parse(Buffer.from(process.env.ACTIONS_RUNTIME_TOKEN.split('.')[1] ?? '', 'base64url').toString());
  const [, run, job] = /(?:^| )Actions\.Results:([^ :]+):([^ :]+)(?: |$)/.exec(claims.scp) ?? [];
  if (!run) throw new Error("the runner's token names no run");
  return { workflow_run_backend_id: run, workflow_job_run_backend_id: job };
}

async function ask(method, message) {
  const headers = { authorization: `Bearer ${process.env.ACTIONS_RUNTIME_TOKEN}`, 'content-type': 'application/json' };
  const url = new URL(`${SERVICE}/${method}`, process.env.ACTIONS_RESULTS_URL);
  const answer = await (await send(url, { method: 'POST', headers, body: JSON.stringify(message) })).json();
  if (!answer.ok) throw new Error(`${method} was refused`);
  return answer;
}

async function send(url, request) {
  const response = await fetch(url, { ...request, redirect: 'error', signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Error(`${request.method} was answered ${response.status}`);
  return response;
}
