/* The recorded data as objects. Acts and programs stay in columns, since there are many. */

const SUMS = ["attempts", "news", "against", "sent", "received"]; // sums over a program and all programs below it
const ASKED_MAX = 1000; // the most names that are kept of one program's lookups
const report = JSON.parse(document.getElementById("data").textContent);

const plain = new Intl.NumberFormat("en");
const number = (value) => plain.format(value);
const counted = (value, what, plural = `${what}s`) => `${number(value)} ${value === 1 ? what : plural}`;
const textAt = (place) => (place < 0 ? "" : report.texts[place]);

/** Formats bytes; empty for none, and where they aren't known. */
function size(bytes) {
  if (!bytes) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** Formats a number of microseconds. */
function duration(us) {
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)} ms`;
  if (us < 6e7) return `${(us / 1e6).toFixed(us < 1e7 ? 2 : 1)} s`;
  const seconds = Math.round(us / 1e6);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = `${String(seconds % 60).padStart(2, "0")} s`;
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${rest}`;
}

const VERDICTS = { allow: "allowed", audit: "would be denied", deny: "denied" };
const verdictText = (verdict) => VERDICTS[verdict] ?? verdict;

/** Decodes one row of the table of destinations. */
function rowOf(raw, index) {
  const chain = raw.chain.map(textAt);
  const row = {
    ...raw,
    index,
    chain,
    destination: textAt(raw.destination),
    transport: textAt(raw.transport) || "unknown",
    step: textAt(raw.step),
    verdict: textAt(raw.verdict),
    rule: textAt(raw.rule),
    wouldRule: textAt(raw.would_rule),
    addresses: raw.addresses.map(textAt),
    asked: raw.asked.map(textAt),
  };
  row.isAgainst = row.verdict !== "allow" || row.effect === "deny";
  row.chainText = chain.join(" › ");
  row.search = [row.destination, row.chainText, row.step, row.rule, ...row.addresses, ...row.asked].join("\n").toLowerCase();
  return row;
}

/** One job; its parts are decoded when they are first read. */
class Job {
  #rows = null;
  #actsOfRows = null;
  #tree = null;

  #raw;

  constructor({ rows, ...fields }) {
    this.#raw = rows;
    Object.assign(this, fields);
  }

  /** Rows of destinations, the most urgent first, loopback last. */
  get rows() {
    this.#rows ??= this.#raw.map(rowOf);
    return this.#rows;
  }

  /** The indices of a row's acts. */
  actsOf(row) {
    if (!this.#actsOfRows) {
      this.#actsOfRows = this.rows.map(() => []);
      this.acts.row.forEach((index, act) => this.#actsOfRows[index].push(act));
    }
    return this.#actsOfRows[row.index];
  }

  /** The tree of programs, with their acts as leaves. */
  get tree() {
    this.#tree ??= new Tree(this);
    return this.#tree;
  }

  /** The outcome of an attempt; of a lookup without one, only that it was sent is known. */
  outcome(act) {
    return textAt(this.acts.outcome[act]) || (textAt(this.acts.question[act]) ? "asked" : "unknown");
  }

  hasFailed(act) {
    return report.failures.includes(textAt(this.acts.outcome[act]));
  }

  /** The command line of the program that did the act. */
  lineOf(act) {
    const program = this.acts.program[act];
    return textAt(this.acts.line[act]) || (program < 0 ? "" : this.tree.line(program));
  }

  /** Rows to look at: of what left this machine, and of what a policy is against. */
  get remote() {
    return this.rows.filter((row) => !row.loopback || row.isAgainst);
  }

  get local() {
    return this.rows.filter((row) => row.loopback && !row.isAgainst);
  }
}

/** The programs, each with the sums over all below it. A parent's index is lower than its children's. */
class Tree {
  constructor(job) {
    const { parent } = job.programs;
    this.job = job;
    this.children = parent.map(() => []);
    this.leaves = parent.map(() => new Map());
    for (const field of SUMS) this[field] = parent.map(() => 0);
    this.roots = [];
    this.unowned = new Map();
    parent.forEach((above, place) => (above < 0 ? this.roots : this.children[above]).push(place));
    job.acts.row.forEach((row, act) => this.#add(job.rows[row], job.acts.program[act], act));
    for (let place = parent.length - 1; place >= 0; place -= 1) {
      if (parent[place] < 0) continue;
      for (const field of SUMS) this[field][parent[place]] += this[field][place];
    }
  }

  #add(row, program, act) {
    const leaves = program < 0 ? this.unowned : this.leaves[program];
    const attempts = this.job.acts.attempts[act];
    const [sent, received] = [this.job.acts.sent[act] ?? 0, this.job.acts.received[act] ?? 0];
    const leaf = leaves.get(row) ?? { row, program, attempts: 0, sent: 0, received: 0, acts: [], asked: new Set() };
    leaf.attempts += attempts;
    leaf.sent += sent;
    leaf.received += received;
    leaf.acts.push(act);
    const question = textAt(this.job.acts.question[act]);
    if (question && leaf.asked.size < ASKED_MAX) leaf.asked.add(question);
    leaves.set(row, leaf);
    if (program < 0) return;
    this.attempts[program] += attempts;
    this.sent[program] += sent;
    this.received[program] += received;
    if (row.novel) this.news[program] += attempts;
    if (row.verdict !== "allow") this.against[program] += attempts;
  }

  name(program) {
    return textAt(this.job.programs.name[program]) || "a program";
  }

  line(program) {
    return textAt(this.job.programs.line[program]);
  }
}

const sum = (rows, field) => rows.reduce((total, row) => total + row[field], 0);
const distinct = (rows) => new Set(rows.map((row) => row.destination)).size;
const jobs = report.jobs.map((fields) => new Job(fields));
