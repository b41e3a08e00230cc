// What the runner reads of an action: commands on stdout, and files that environment variables name.

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';

/** Something that the user can mend. */
export class Refusal extends Error {
  /** @param {string} what @param {string} hint how to mend it */
  constructor(what, hint) {
    super(what);
    this.hint = hint;
  }
}

/** The value of an input, without the blanks around it; empty when it isn't given. */
export function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] ?? '').trim();
}

/** Whether an input says so. Throws Refusal. */
export function isTrue(name) {
  const value = input(name).toLowerCase();
  if (value !== 'true' && value !== 'false') {
    throw new Refusal(`${name} is neither true nor false`, `write \`${name}: true\` or \`${name}: false\``);
  }
  return value === 'true';
}

/** What main left for post; empty when it left nothing. */
export function state(name) {
  return process.env[`STATE_${name}`] ?? '';
}

export function saveState(name, value) {
  appendTo('GITHUB_STATE', name, value);
}

export function setOutput(name, value) {
  appendTo('GITHUB_OUTPUT', name, value);
}

/** Where the runner reads what both were given. */
export function filesOfState() {
  return ['GITHUB_STATE', 'GITHUB_OUTPUT'].map(environmentFile);
}

/** Add to the summary of this step. */
export function addToSummary(text) {
  appendFileSync(environmentFile('GITHUB_STEP_SUMMARY'), text);
}

/** From here on `text` is shown in no log. */
export function mask(text) {
  process.stdout.write(`::add-mask::${escapeData(text)}\n`);
}

export function say(text) {
  process.stdout.write(`${text.replace(/[\r\n]+/g, ' ')}\n`);
}

/** Show text next to the workflow; any of it may be hostile. @param {'error'|'warning'|'notice'} level */
export function annotate(level, title, text) {
  process.stdout.write(`::${level} title=${escapeProperty(title)}::${escapeData(text)}\n`);
}

/** Show lines under a title, folded; none of them is a command to the runner, whatever it says. */
export function showFolded(title, lines) {
  showFoldedWhile(title, () => process.stdout.write(lines.map((line) => `${line}\n`).join('')));
}

/** The same for all that is printed until `run` returns, whatever it returns; also by programs that it runs. */
export function showFoldedWhile(title, run) {
  const token = randomUUID();
  process.stdout.write(`::group::${escapeData(title)}\n::stop-commands::${token}\n`);
  try {
    return run();
  } finally {
    process.stdout.write(`\n::${token}::\n::endgroup::\n`); // what was killed may have ended within a line
  }
}

/** Say why this step fails, and make it fail. */
export function fail(error) {
  const hint = error instanceof Refusal ? error.hint : '';
  const what = error instanceof Refusal ? error.message : `${error?.stack ?? error}`;
  annotate('error', 'ci-egress', hint ? `${what}; ${hint}` : what);
  process.exitCode = 1;
}

function appendTo(variable, name, value) {
  const delimiter = randomUUID(); // nobody can guess it, so no value ends early
  appendFileSync(environmentFile(variable), `${name}<<${delimiter}\n${value}\n${delimiter}\n`);
}

function environmentFile(variable) {
  const path = process.env[variable];
  if (!path) throw new Refusal(`${variable} is not set`, 'this runs as a step of GitHub Actions');
  return path;
}

function escapeData(text) {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function escapeProperty(text) {
  return escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
