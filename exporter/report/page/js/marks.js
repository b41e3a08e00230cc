/* Parts of the timeline: marks, with labels where there is room, and round times above them. */

const BINS = 120;
const TICKS_MAX = 6;
const NICE_US = [
  ...[1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((unit) => [1, 2, 5].map((times) => times * unit)),
  ...[10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400].map((seconds) => seconds * 1e6),
];
const LABEL_MAX = 40; // characters
const [LETTER_PX, MARK_PX, WIDTH_PX] = [7, 10, 900]; // a letter of a label; the room around a mark; a lane of unknown width
const KINDS = [
  { name: "deny", text: "denied", is: (row) => row.verdict === "deny", path: "M-4.5-4.5 4.5 4.5M4.5-4.5-4.5 4.5" },
  { name: "audit", text: "would be denied", is: (row) => row.verdict === "audit", path: "M0-6 6 5-6 5Z" },
  { name: "new", text: "new", is: (row) => row.novel === true, path: "M0-6 6 0 0 6-6 0Z" },
  { name: "allow", text: "allowed", is: () => true, path: "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0Z" },
];

const kindText = (kind, job) => (kind.name === "allow" && !job.is_judged ? "not judged" : kind.text);

/** Makes marks: acts of a kind that would be drawn over each other share one. */
function marksOf(job, acts, whole) {
  const marks = new Map();
  for (const act of acts) {
    const row = job.rows[job.acts.row[act]];
    const at = job.acts.start[act];
    const kind = KINDS.findIndex(({ is }) => is(row));
    const hasFailed = job.hasFailed(act);
    const key = (Math.floor((BINS * at) / whole) * KINDS.length + kind) * 2 + Number(hasFailed);
    const mark = marks.get(key) ?? { kind: KINDS[kind], hasFailed, at, attempts: 0, rows: new Set(), asked: new Set(), reached: new Set(), outcomes: new Set() };
    const question = textAt(job.acts.question[act]);
    if (question) mark.asked.add(question);
    else mark.reached.add(row.destination);
    mark.attempts += job.acts.attempts[act];
    mark.rows.add(row);
    if (hasFailed) mark.outcomes.add(job.outcome(act));
    marks.set(key, mark);
  }
  return [...marks.values()].sort((a, b) => a.at - b.at || (a.kind.name < b.kind.name ? -1 : 1));
}

/** Labels for the marks that have room up to the next mark, or the end: {text, from, width}, in parts of the lane. */
function labelsOf(marks, whole, widthPx) {
  const lane = widthPx || WIDTH_PX;
  const labels = [];
  let taken = 0; // pixels that labels occupy so far
  marks.forEach((mark, place) => {
    const at = (lane * mark.at) / whole;
    const end = place + 1 < marks.length ? (lane * marks[place + 1].at) / whole - MARK_PX : lane;
    const text = labelText(mark);
    const needed = text.length * LETTER_PX;
    const isLast = place + 1 === marks.length;
    const start = isLast ? Math.min(at, lane - needed) : at; // the last one may begin before its mark
    if (start < taken || end - start < needed) return;
    labels.push({ text, from: start / lane, width: needed / lane });
    taken = start + needed + MARK_PX;
  });
  return labels;
}

/** The destinations of a mark; for a mark of lookups alone, the names that they asked for. */
function labelText({ asked, reached }) {
  const names = [...(reached.size ? reached : asked)];
  const more = names.length > 1 ? ` +${number(names.length - 1)}` : "";
  return (names[0].length > LABEL_MAX ? `${names[0].slice(0, LABEL_MAX)}…` : names[0]) + more;
}

/** Up to TICKS_MAX round times, and 0, in microseconds. */
function ticksOf(whole) {
  const step = NICE_US.find((each) => whole / each <= TICKS_MAX) ?? whole / TICKS_MAX;
  return Array.from({ length: Math.floor(whole / step) + 1 }, (_, tick) => tick * step);
}

function tickText(us) {
  if (us === 0) return "0";
  if (us < 1e3) return `${us} µs`;
  if (us < 1e6) return `${us / 1e3} ms`;
  if (us < 6e7) return `${us / 1e6} s`;
  return duration(us).replace(" 00 s", "").replace(" 00 min", "");
}

function axis(whole) {
  const ticks = ticksOf(whole);
  const labels = ticks.map((us, tick) => {
    const part = us / whole;
    const anchor = tick === 0 ? "start" : part > 0.95 ? "end" : "middle";
    return s("text", { x: `${(100 * part).toFixed(3)}%`, y: "14", "text-anchor": anchor, class: tick % 2 ? "odd" : null }, tickText(us));
  });
  return s("svg", { class: "axis", width: "100%", height: "20", "aria-hidden": "true" }, ...labels);
}

function legend(job) {
  const drawn = new Set(job.rows.map((row) => KINDS.find(({ is }) => is(row))));
  const kinds = KINDS.filter((kind) => drawn.has(kind));
  const plain = kinds.find(({ name }) => name !== "deny") ?? kinds[0];
  const sample = ({ name, path }, text, look = "") =>
    h("li", {}, s("svg", { width: "18", height: "18", viewBox: "-9 -9 18 18", "aria-hidden": "true" }, s("g", { class: `mark ${name} ${look}` }, s("path", { d: path }))), text);
  return h("ul", { class: "legend" }, ...kinds.map((kind) => sample(kind, kindText(kind, job))),
    job.rows.some((row) => row.failed) && sample(plain, "hollow: failed (refused, timed out, reset)", "failed"),
    h("li", {}, s("svg", { width: "26", height: "18", "aria-hidden": "true" }, s("rect", { class: "ran", x: "0", y: "5", width: "26", height: "8", rx: "3" })), "the program ran"));
}
