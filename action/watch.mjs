// `ci-egress watch` as a process that outlives the script which starts it.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { contents } from './contents.mjs';
import { asRoot, runAsRoot } from './root.mjs';
import { endOption, places } from './options.mjs';
import { Refusal } from './workflow.mjs';

const START_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 90_000; // 10 s for a flush, and what the report takes: for each way to ask
const SETTLE_LIMIT_MS = 10_000; // of a shell that has one line to write
const EXIT_LIMIT_MS = 1_000; // of a process that has begun to exit
const LOOK_MS = 50;
const LINES_MAX = 10; // of what says why it didn't start

// Says which process it is and how it ended, since nobody else is there to wait for it. Its text is fixed: what is
// run comes as arguments.
const SUPERVISOR = '"$@" >&2 & echo "pid $!"; wait "$!"; echo "status $?"';

/** Start it; returns `{pid, started}` once it traces. Where it doesn't, `secret` ends it. Throws Refusal. */
export async function start(folder, command, environment, secret) {
  const { log, record } = places(folder);
  const { file, args, env } = asRoot(['/bin/sh', '-c', SUPERVISOR, 'ci-egress', ...command], environment);
  const [said, recorded] = [openSync(log, 'wx', 0o600), openSync(record, 'wx', 0o600)];
  const child = spawn(file, args, { env, cwd: folder, detached: true, stdio: ['ignore', recorded, said] });
  child.on('error', () => undefined); // `sudo` was there a moment ago; else it isn't ready in time
  child.unref();
  closeSync(said);
  closeSync(recorded);
  const hasBegun = () => isReady(folder) && pidOf(folder) !== 0;
  await until(() => hasBegun() || statusOf(folder) !== undefined, START_LIMIT_MS);
  const watch = runningIn(folder);
  if (isReady(folder) && watch) return watch;
  if (watch) await stop(folder, watch, secret);
  throw new Refusal('tracing did not start', reasonOf(folder));
}

/** The same as `runningIn` where the start was cut short, and may not have been recorded yet. */
export async function begunIn(folder) {
  const { record } = places(folder);
  await until(() => pidOf(folder) !== 0 || !existsSync(record), SETTLE_LIMIT_MS);
  return runningIn(folder);
}

/** The process that was started there, as `{pid, started}`, if it runs. */
function runningIn(folder) {
  const pid = pidOf(folder);
  const started = startOf(pid);
  return started === '' ? undefined : { pid, started };
}

/**
 * End it, exactly this process; returns `{status, wasRunning}`. By the token as `name` the job is over, and where a
 * policy is enforced what its steps left behind is ended; by the secret behind the token the job goes on. Throws Refusal
 * when it doesn't end.
 */
export async function stop(folder, { pid, started }, name) {
  const hasEnded = () => startOf(pid) !== started;
  const wasRunning = started !== '' && !hasEnded();
  if (wasRunning) await requireWatch(folder, pid, hasEnded);
  if (wasRunning && ask(folder, name)) await until(hasEnded, STOP_LIMIT_MS);
  if (wasRunning && !hasEnded()) {
    // Somebody got in the way: he has reported himself then, and so does this, which anybody could do.
    signal('TERM', pid);
    await until(hasEnded, STOP_LIMIT_MS);
  }
  if (!hasEnded()) {
    throw new Refusal(
      `ci-egress (process ${pid}) did not end within ${STOP_LIMIT_MS / 1000} s of SIGTERM`,
      'on a runner that lives on, `ci-egress stop --all` ends it and detaches what it attached',
    );
  }
  // It is written a moment later, unless a step has put something else there.
  await until(() => statusOf(folder) !== undefined || pidOf(folder) !== pid, SETTLE_LIMIT_MS);
  return { status: statusOf(folder), wasRunning };
}

// By a name, and not by a text: nothing that a step has put there can be waited for, or lead elsewhere.
function ask(folder, name) {
  try {
    writeFileSync(`${places(folder).end}/${name}`, '', { flag: 'wx' });
    return true;
  } catch {
    return false;
  }
}

/** What it said, a message each: `{level, message, …}`. */
export function messages(folder) {
  const lines = read(places(folder).log).split('\n').slice(0, -1);
  return lines.map(parsed).filter((said) => typeof said.message === 'string');
}

/** The trace that it said its job is in; empty when it didn't say. */
export function traceOf(folder) {
  const said = messages(folder).find(({ trace_id: id }) => /^[0-9a-f]{32}$/.test(id));
  return said?.trace_id ?? '';
}

/** When a process began, in the kernel's ticks; empty when there is none. */
export function startOf(pid) {
  const stat = pid > 0 ? read(`/proc/${pid}/stat`) : '';
  // The name in parentheses may hold anything; the state and 18 more fields stand before the time.
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return stat === '' || state === 'Z' || state === 'X' ? '' : rest[18];
}

// Once nothing is missed any more, it says which job it traces.
function isReady(folder) {
  return traceOf(folder) !== '';
}

// An older ci-egress, which knows no --json-log, or a loader says it in lines of its own.
function reasonOf(folder) {
  const said = messages(folder);
  const errors = said.filter(({ level }) => level === 'error');
  const told = errors.map(({ message, hint }) => (hint ? `${message}; ${hint}` : message));
  if (told.length > 0) return told.join('\n');
  const last = said.slice(-LINES_MAX).map(({ message }) => message);
  return [`it ended with ${statusOf(folder) ?? 'no status in time'}`, ...last].join('\n');
}

function pidOf(folder) {
  return Number(/^pid (\d+)$/m.exec(read(places(folder).record))?.[1] ?? 0);
}

function statusOf(folder) {
  const status = /^status (\d+)$/m.exec(read(places(folder).record))?.[1];
  return status === undefined ? undefined : Number(status);
}

// Steps can write to the files that say which process it is, and root's signal goes to that process: so it has to be
// one of root's, with a folder on its command line that no other has there. One that is about to end has none any more.
async function requireWatch(folder, pid, hasEnded) {
  const isSo = () => hasEnded() || isWatchOf(folder, pid);
  await until(isSo, EXIT_LIMIT_MS);
  if (isSo()) return;
  throw new Refusal(
    `process ${pid} doesn't trace this job, although the files of the ci-egress action say so`,
    'a step has changed them; nothing is ended by this step',
  );
}

function isWatchOf(folder, pid) {
  const { uid } = statSync(`/proc/${pid}`, { throwIfNoEntry: false }) ?? {};
  return uid === 0 && read(`/proc/${pid}/cmdline`).split('\0').includes(endOption(folder));
}

// By the shell's own `kill`: images of containers often have no other.
function signal(name, pid) {
  runAsRoot(['/bin/sh', '-c', 'kill -s "$1" -- "$2"', 'sh', name, `${pid}`]);
}

async function until(isSo, limitMs) {
  const deadline = performance.now() + limitMs;
  while (!isSo() && performance.now() < deadline) await pause(LOOK_MS);
}

function parsed(line) {
  try {
    return JSON.parse(line) ?? {};
  } catch {
    return { level: 'info', message: line }; // sudo's words, or Python's
  }
}

function read(path) {
  try {
    return contents(path).toString();
  } catch {
    return '';
  }
}
