// From the action's inputs to the options of `ci-egress watch`.

import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';

import { handedOn } from './root.mjs';
import { Refusal, input, isTrue } from './workflow.mjs';

const MODES = ['', 'trace', 'audit', 'enforce'];

// What a step may say, in its own `env`, of how to send to where the input says. All others would send elsewhere,
// otherwise or nowhere: an earlier step can set variables. It can set these, too, unless the step does: nothing tells
// whose they are.
const OF_THE_STEP =
  /^OTEL_(EXPORTER_OTLP_(HEADERS|PROTOCOL|CERTIFICATE|CLIENT_CERTIFICATE|CLIENT_KEY)|RESOURCE_ATTRIBUTES)$/;

/** The token that ends the tracing; whoever has the secret behind it can have the job go on, too. */
export function tokenOf(secret) {
  return createHash('sha256').update(secret).digest('hex');
}

/** The options that the inputs ask for. `folder` gets what is written; `token` ends it. Throws Refusal. */
export function watchOptions(folder, token) {
  const { otlpDir, report, summary } = places(folder);
  return [
    '--host',
    '--json-log',
    `--otlp-dir=${otlpDir}`,
    `--report=${report}`,
    `--summary=${summary}`,
    endOption(folder),
    `--end-digest=${createHash('sha256').update(token).digest('hex')}`, // the token itself stands on no command line
    ...policyOptions(),
    ...given('baseline', resolve),
    ...given('fail-on'),
    ...given('trace-url'),
  ];
}

/** The environment that it gets. */
export function watchEnvironment() {
  const endpoint = input('otlp-endpoint');
  const checkRun = input('check-run-id');
  const isKept = (name) => endpoint === '' || !name.startsWith('OTEL_') || OF_THE_STEP.test(name);
  return {
    ...handedOn(isKept),
    PYTHONDONTWRITEBYTECODE: '1', // root leaves nothing in a folder that the runner has to empty
    ...(endpoint && { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }),
    ...(checkRun && { CI_EGRESS_CHECK_RUN_ID: checkRun }),
  };
}

/** The folder of a run; a job has one. */
export function folderOfJob() {
  return join(process.env.RUNNER_TEMP ?? '/tmp', 'ci-egress');
}

/** Where things are in the folder of a run. */
export function places(folder) {
  return {
    otlpDir: `${folder}/otlp`,
    report: `${folder}/report.html`,
    summary: `${folder}/summary.md`,
    log: `${folder}/log.jsonl`,
    record: `${folder}/record`,
    state: `${folder}/state.json`,
    told: `${folder}/told`,
    end: `${folder}/end`,
  };
}

/** The option that names the folder in which the end is asked for: no other watch has it. */
export function endOption(folder) {
  return `--end-folder=${places(folder).end}`;
}

function policyOptions() {
  const mode = input('mode');
  if (!MODES.includes(mode)) {
    throw new Refusal('mode is none of trace, audit and enforce', 'write `mode: trace`, or leave it out');
  }
  const hasPolicy = input('policy') !== '' || input('allowed-endpoints') !== '';
  if (mode === 'trace' && hasPolicy) {
    throw new Refusal('mode is trace, and a policy is given', 'write `mode: audit` to see what it would deny');
  }
  if ((mode === 'audit' || mode === 'enforce') && !hasPolicy) {
    throw new Refusal(`mode is ${mode}, and no policy is given`, 'add `policy: FILE` or `allowed-endpoints: …`');
  }
  return [
    ...given('policy', resolve),
    ...given('allowed-endpoints', (text) => text.split(/\s+/).join(' ')),
    ...(mode === 'enforce' ? ['--enforce'] : []),
    ...(isTrue('host-enforce') && hasPolicy ? ['--host-enforce'] : []),
  ];
}

// One word with the name, so that no value is taken for another option.
function given(name, convert = (text) => text) {
  const value = input(name);
  return value === '' ? [] : [`--${name}=${convert(value)}`];
}
