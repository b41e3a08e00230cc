// Commands with root's rights: by sudo, where this isn't root already. Never through a shell.

import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';

import { Refusal } from './workflow.mjs';

const OUTPUT_MAX = 16 * 1024 * 1024;

// What names the job and says where telemetry goes. Not the files of a step, which are gone when it is over, nor
// tokens that nothing here needs; nor where telemetry waits: a step could say it, and root makes folders there.
const HANDED_ON =
  /^(CI|(GITHUB|RUNNER|GITEA|FORGEJO|OTEL|CI_EGRESS)_\w+|TRACEPARENT|TRACESTATE)$/;
const KEPT_BACK = /^GITHUB_(TOKEN|ENV|OUTPUT|PATH|STATE|STEP_SUMMARY)$/;
const OF_A_PROXY = /^(https?|no)_proxy$/i; // programs heed either spelling

/** The part of the environment that ci-egress may get, as far as `isKept` says of a name. */
export function handedOn(isKept) {
  const isHandedOn = (name) => HANDED_ON.test(name) && !KEPT_BACK.test(name) && isKept(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => isHandedOn(name)));
}

/** The part that names a proxy: for what fetches packages. ci-egress sends to where the inputs say, as they say it. */
export function throughProxy() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => OF_A_PROXY.test(name)));
}

/** How to start COMMAND as root with `environment`: for `spawn`. Values never stand on a command line. */
export function asRoot(command, environment = {}) {
  const { PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME = '/', LANG = 'C.UTF-8' } =
    process.env;
  const env = { PATH, LANG, ...environment };
  if (process.getuid() === 0) return { file: command[0], args: command.slice(1), env: { HOME, ...env } };
  const kept = Object.keys(environment).length ? [preserving(environment)] : [];
  return { file: 'sudo', args: ['--non-interactive', '--set-home', ...kept, '--', ...command], env };
}

let isSudoRs; // asked once

// All of it, which was chosen here: sudo logs the values of what it is given by name. sudo-rs knows names alone.
function preserving(environment) {
  isSudoRs ??= /^sudo-rs/.test(spawnSync('sudo', ['--version'], { encoding: 'utf8' }).stdout ?? '');
  return isSudoRs ? `--preserve-env=${Object.keys(environment).join(',')}` : '--preserve-env';
}

/** Run COMMAND as root to its end; returns status and output. Throws Refusal where it can't be started. */
export function runAsRoot(command, environment = {}) {
  const { file, args, env } = asRoot(command, environment);
  return run(file, args, env);
}

/** Run a program to its end, its errors among its output. Throws Refusal where it can't be started. */
export function run(file, args, env = process.env) {
  const done = spawnSync(file, args, { env, encoding: 'utf8', maxBuffer: OUTPUT_MAX, stdio: ['ignore', 'pipe', 'pipe'] });
  if (done.error) throw notRun(file, done.error);
  return { status: done.status ?? 1, stdout: done.stdout, lines: `${done.stdout}${done.stderr}`.trimEnd().split('\n') };
}

/**
 * Run a program to its end, with what it says shown as it comes; returns its status, as a shell would. Throws Refusal as
 * `run`.
 */
export function follow({ file, args, env }) {
  // All on stdout: the runner reads stderr apart from it, and may do so before or after it heeds commands there.
  const done = spawnSync(file, args, { env, stdio: ['ignore', 'inherit', 1] });
  if (done.error) throw notRun(file, done.error);
  return done.status ?? 128 + constants.signals[done.signal];
}

/** See that nobody is asked for a password. Throws Refusal. */
export function requireRoot() {
  if (runAsRoot(['true']).status !== 0) {
    throw new Refusal(
      'this runner may not become root: `sudo --non-interactive true` failed',
      'let its user use sudo without a password, or have `ci-egress watch` run on it as a service',
    );
  }
}

function notRun(file, error) {
  const hint = file === 'sudo' ? 'use a runner that is root or has sudo' : 'see that it is there and may be run';
  return new Refusal(`${file} can't be run: ${error.code ?? error.message}`, hint);
}
