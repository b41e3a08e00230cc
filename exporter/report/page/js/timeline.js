/* The timeline: a lane for each program that acted, with marks for its acts. A table with the same data follows. */

const LANES = 40;
const LINES = 100;

class Timeline {
  constructor(job) {
    this.job = job;
    const { acts, programs } = job;
    this.whole = Math.max(1, job.duration, ...ends(acts.end), ...ends(programs.end));
    this.lanes = lanesOf(job);
    this.limit = 0;
    this.told = h("p", { class: "told", role: "status" }, "Move over a mark, or go to one with the arrow keys.");
    this.lanePx = 0;
    this.chart = h("div", { class: "chart", role: "group", "aria-label": "Timeline: arrow keys go from mark to mark", onkeydown: (event) => this.#key(event) });
    this.more = h("button", { type: "button", class: "more-rows", onclick: () => this.#show() });
    this.element = h("div", { class: "timeline" }, legend(job), h("div", { class: "axis-line" }, h("span"), axis(this.whole)), this.chart, this.more, this.told,
      later("as-table", "The same as a table", () => actsTable(job)));
  }

  /** Draws the lanes. The element must be in the page: labels depend on its width. */
  drawn() {
    this.lanePx = this.element.querySelector(".axis").clientWidth;
    this.#show();
  }

  #show() {
    const { length } = this.lanes;
    this.chart.append(...this.lanes.slice(this.limit, this.limit + LANES).map((lane) => this.#lane(lane)));
    this.limit += LANES;
    const left = length - this.limit;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show ${number(Math.min(left, LANES))} more of ${counted(left, "program")}`;
    if (!this.chart.querySelector("[tabindex='0']")) this.chart.querySelector("[role=button]")?.setAttribute("tabindex", "0");
  }

  #at(us) {
    return `${((100 * Math.min(us, this.whole)) / this.whole).toFixed(3)}%`;
  }

  #lane({ program, acts }) {
    const { job } = this;
    const name = program < 0 ? "unknown program" : job.tree.name(program);
    const pid = program < 0 ? null : job.programs.pid[program];
    const [start, end] = program < 0 ? [-1, -1] : [job.programs.start[program], job.programs.end[program]];
    const marks = marksOf(job, acts, this.whole);
    const labels = labelsOf(marks, this.whole, this.lanePx);
    const drawn = s("svg", { class: "lane", width: "100%", height: labels.length ? "38" : "26", focusable: "false" },
      s("svg", { y: labels.length ? "12" : "0", overflow: "visible" }, ...this.#lines(),
        start >= 0 && s("rect", { class: "ran", x: this.#at(start), y: "9", width: this.#at(Math.max(end - start, 0)), height: "8", rx: "3" }),
        ...marks.map((mark) => this.#mark(mark, name))),
      ...labels.map(({ text, from, width }) => s("svg", { class: "label", x: `${(100 * from).toFixed(3)}%`, width: `${(100 * width).toFixed(3)}%`, height: "16", "aria-hidden": "true" }, s("text", { y: "12" }, text))));
    return h("div", { class: "lane-line", role: "group", "aria-label": `${name}${pid === null ? "" : ` ${pid}`}: ${counted(acts.length, "act")}` },
      h("span", { class: "lane-name", "aria-hidden": "true", title: program < 0 ? null : job.tree.line(program) || null }, h("b", {}, name), pid !== null && h("span", { class: "muted" }, ` ${pid}`)), drawn);
  }

  /** Faint lines below the round times. */
  #lines() {
    return ticksOf(this.whole).slice(1).map((us) => s("line", { class: "tick", x1: this.#at(us), x2: this.#at(us), y1: "0", y2: "26" }));
  }

  #mark({ kind, hasFailed, at, attempts, rows, outcomes }, name) {
    const names = [...new Set([...rows].map((row) => row.destination))];
    const where = `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${number(names.length - 3)} more` : ""}`;
    const told = [kindText(kind, this.job), hasFailed && `failed (${[...outcomes].join(", ")})`].filter(Boolean);
    const text = `${name}: ${attempts > 1 ? `${number(attempts)} attempts` : "an attempt"} to ${where}, ${told.join(", ")}, ${duration(at)} after the job began`;
    const tell = () => (this.told.textContent = text);
    const drawn = s("g", { class: `mark ${kind.name}${hasFailed ? " failed" : ""}`, role: "button", tabindex: "-1", "aria-label": text, onmouseenter: tell, onfocus: tell, onclick: tell },
      s("circle", { class: "around", r: "10" }), s("path", { d: kind.path }));
    return s("svg", { x: this.#at(at), y: "13", overflow: "visible", role: "presentation" }, drawn);
  }

  #key(event) {
    const mark = event.target.closest("[role=button]");
    if (!mark) return;
    const lane = event.target.closest(".lane-line");
    const inLane = (each) => [...(each?.querySelectorAll("[role=button]") ?? [])];
    const own = inLane(lane);
    const place = own.indexOf(mark);
    const next = {
      ArrowRight: () => own[place + 1] ?? inLane(lane.nextElementSibling)[0],
      ArrowLeft: () => own[place - 1] ?? inLane(lane.previousElementSibling).at(-1),
      ArrowDown: () => inLane(lane.nextElementSibling)[0],
      ArrowUp: () => inLane(lane.previousElementSibling)[0],
      Home: () => own[0],
      End: () => own.at(-1),
    }[event.key]?.();
    if (!next) return;
    mark.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    event.preventDefault();
  }
}

/** A list with the largest of `values`, which may be too many for the arguments of Math.max. */
const ends = (values) => [values.reduce((most, value) => Math.max(most, value), 0)];

function lanesOf(job) {
  const lanes = new Map();
  job.acts.program.forEach((program, act) => {
    if (!lanes.has(program)) lanes.set(program, { program, acts: [] });
    lanes.get(program).acts.push(act);
  });
  const began = ({ program, acts }) => {
    const start = program < 0 ? -1 : job.programs.start[program];
    return start < 0 ? job.acts.start[acts[0]] : start;
  };
  return [...lanes.values()].sort((a, b) => began(a) - began(b));
}

function actsTable(job) {
  const order = [...job.acts.row.keys()].sort((a, b) => job.acts.start[a] - job.acts.start[b]);
  const columns = ["After", "Program", "Destination", "Verdict", "Outcome", "Attempts"];
  const body = h("tbody", { role: "rowgroup" });
  let limit = 0;
  const more = h("button", { type: "button", class: "more-rows", onclick: () => show() });
  const show = () => {
    body.append(...order.slice(limit, limit + LINES).map((act) => actInTime(job, act, columns)));
    limit += LINES;
    more.hidden = order.length <= limit;
    more.textContent = `Show more of ${number(order.length - limit)}`;
  };
  show();
  return h("div", {}, tableBox(h("table", { class: "rows acts-in-time", role: "table" }, h("caption", { class: "hidden" }, "What was done, in the order of time"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...columns.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))), body)), more);
}

function actInTime(job, act, columns) {
  const row = job.rows[job.acts.row[act]];
  const program = job.acts.program[act];
  const values = [duration(job.acts.start[act]), program < 0 ? "unknown" : job.tree.name(program), [row.destination, textAt(job.acts.question[act]) && [" ", askedText([textAt(job.acts.question[act])])]].flat(2),
    [verdictBadge(row.verdict, job.is_judged), row.novel === true ? [" ", newBadge()] : []].flat(2), job.outcome(act), number(job.acts.attempts[act])];
  return h("tr", { role: "row" }, ...values.map((value, place) => h("td", { role: "cell", "data-label": columns[place], class: place === 2 ? "destination" : null }, ...[value].flat())));
}

function timelineView(job) {
  if (!job.acts.row.length) return { element: h("p", { class: "empty" }, "Nothing was done that has a time.") };
  const timeline = new Timeline(job);
  return { element: timeline.element, shown: () => timeline.drawn() };
}
