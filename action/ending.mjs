// The end of the tracing: stop it, show what it said, and judge how it ended.

import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';

import { hasArtifacts, upload } from './artifact.mjs';
import { contents } from './contents.mjs';
import { places } from './options.mjs';
import { messages, startOf, stop } from './watch.mjs';
import { Refusal, addToSummary, annotate, say, showFolded } from './workflow.mjs';

const ANNOTATIONS_MAX = 8; // the runner shows ten of each level for a step
const TAMPERING = /^warning: (?=tampering: )/; // among the notes of a job's summary
const SUMMARY_MAX_BYTES = 1 << 20; // what the runner takes of a step: of more it takes nothing
const FAILED_ON = 90;
const LOST = 92;

/**
 * End it, and show what it has to say; returns `{status, wasRunning, said}`, or nothing where an earlier step did. It is
 * asked for by the token, or by the secret behind it: see `stop`. Throws Refusal when it doesn't end.
 */
export async function endTracing(folder, watch, token, secret = token) {
  if (startOf(watch.pid) !== watch.started && isTold(places(folder).told, token)) {
    say('ci-egress: an earlier step ended the tracing, and told all');
    return undefined;
  }
  const { status, wasRunning } = await stop(folder, watch, secret);
  const said = messages(folder);
  const [tampering, acts] = [tamperingOf(said), said.filter(({ event }) => event !== undefined)];
  showFolded('What ci-egress said', [...said, ...tampering].flatMap(shown));
  [...tampering, ...acts].slice(0, ANNOTATIONS_MAX).forEach(annotateAct); // whoever tampers may make acts without number
  const link = watch.artifact ? await keepReport(places(folder).report, watch.artifact) : '';
  if (watch.hasSummary) summarise(folder, link);
  noteTold(places(folder).told, token);
  return { status, wasRunning, said };
}

/** Throws Refusal when the step should fail by how it ended. */
export function judge({ status, wasRunning, said }) {
  if (!wasRunning) {
    const how = status === undefined ? 'nobody knows how' : `with status ${status}`;
    throw new Refusal(`ci-egress ended before the job did, ${how}`, 'what came after that was not traced');
  }
  const reasons = said.filter(({ level, event }) => level === 'error' && event === undefined);
  const told = reasons.map(({ message }) => message).join('\n');
  if (status === FAILED_ON) throw new Refusal(told || 'what fail-on names happened', '');
  if (status === LOST) throw new Refusal('telemetry was lost', 'the lines above say how much, and why');
  if (status !== 0) throw new Refusal(told || 'ci-egress failed', `it ended with status ${status ?? 'unknown'}`);
}

// Where a step has put something else there, or emptied the folder, post tells it all again.
function noteTold(path, token) {
  try {
    writeFileSync(path, proofOf(token), { flag: 'wx' });
  } catch (error) {
    annotate('warning', 'ci-egress', `${path} can't be written: ${error.message}`);
  }
}

function isTold(path, token) {
  try {
    return contents(path).toString() === proofOf(token);
  } catch {
    return false;
  }
}

// That whoever wrote it has the token: else a step could end the tracing some other way, and say that all was told.
function proofOf(token) {
  return createHmac('sha256', token).update('told').digest('hex');
}

function shown({ level, message, detail = '' }) {
  const label = level === 'info' ? '' : `${level}: `;
  return `${label}${message}\n${detail}`.trimEnd().split('\n');
}

// What got around the tracing, or tried to: it is said once a job is over, and in nobody's message of its own.
function tamperingOf(said) {
  const notes = said.flatMap(({ summary }) => (Array.isArray(summary?.notes) ? summary.notes : []));
  const told = notes.filter((note) => typeof note === 'string' && TAMPERING.test(note));
  return told.map((note) => ({ level: 'error', message: note.replace(TAMPERING, '') }));
}

function annotateAct({ level, message }) {
  annotate(level === 'error' ? 'error' : 'warning', 'ci-egress', message);
}

// The summary of a step is a file of that step alone: the one that main had is read by now.
function summarise(folder, link) {
  try {
    const summary = contents(places(folder).summary).toString();
    const linked = `${summary}\n[The whole report](${link})\n`;
    addToSummary(link && Buffer.byteLength(linked) <= SUMMARY_MAX_BYTES ? linked : summary);
  } catch (error) {
    annotate('warning', 'ci-egress', `the summary is missing: ${error.message}`);
  }
}

// It costs no job its status: what came of the job is known by now.
async function keepReport(report, name) {
  if (!hasArtifacts()) {
    say('ci-egress: this GitHub keeps no pages as artifacts; actions/upload-artifact, after the action `stop`, does');
    return '';
  }
  try {
    const link = await upload(report, name);
    say(`ci-egress: the report is ${link}`);
    return link;
  } catch (error) {
    annotate('warning', 'ci-egress', `the report was not kept as an artifact: ${error.message}`);
    return '';
  }
}
