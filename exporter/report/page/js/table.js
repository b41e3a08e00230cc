/* The table of destinations: sorted, filtered, and shown in portions, so that thousands cost nothing. */

const PORTION = 100;
const WAYS = { none: "↕", ascending: "▲", descending: "▼" };
const LATE = "\uffff"; // sorts behind all texts

const COLUMNS = [
  { key: "destination", label: "Destination", value: (row) => row.destination },
  { key: "transport", label: "Transport", value: (row) => row.transport, cell: (row) => row.transport },
  { key: "verdict", label: "Verdict", value: (row) => row.verdict, cell: (row) => verdictBadge(row.verdict), if: (job) => job.is_judged },
  { key: "effect", label: "Your policy", value: (row) => row.effect ?? LATE, cell: (row) => row.effect && effectBadge(row.effect), if: (job) => report.has_policy && (!job.is_judged || job.rows.some(isSaidOtherwise)) },
  { key: "step", label: "Step", value: (row) => row.step || LATE, cell: (row) => row.step && h("span", { class: "step" }, row.step), if: (job) => job.rows.some((row) => row.step) },
  { key: "attempts", label: "Attempts", value: (row) => row.attempts, cell: (row) => number(row.attempts), numeric: true },
  { key: "failed", label: "Failed", value: (row) => row.failed, cell: (row) => (row.failed ? number(row.failed) : ""), numeric: true },
  { key: "sent", label: "Sent", value: (row) => row.sent, cell: (row) => size(row.sent), numeric: true },
  { key: "received", label: "Received", value: (row) => row.received, cell: (row) => size(row.received), numeric: true },
  { key: "chain", label: "Process chain", value: (row) => row.chainText, cell: (row) => chainText(row.chain), look: "wide" },
];

/** Whether the reader's policy decides otherwise than the recorded verdict. */
function isSaidOtherwise(row) {
  return row.effect !== null && (row.effect === "deny") !== (row.verdict !== "allow");
}

const FILTERS = { text: "", verdict: "", transport: "", step: "", novel: false, failed: false, denied: false, look: false };

class DestinationTable {
  constructor(job, rows, name) {
    Object.assign(this, { job, rows, name });
    this.columns = COLUMNS.filter((column) => !column.if || column.if(job));
    this.filters = { ...FILTERS };
    this.sort = null;
    this.limit = PORTION;
    this.status = h("p", { class: "status", role: "status" });
    this.body = h("tbody", { role: "rowgroup" });
    this.headers = new Map();
    this.more = h("button", { type: "button", class: "more-rows", onclick: () => this.#showMore() });
    this.controls = h("div", { class: "controls" });
    this.element = h("div", { class: "destinations" }, this.controls, this.status, tableBox(this.#table()), this.more);
    this.filter({});
  }

  /** Shows the rows that pass `filters`; filters that aren't named are reset. */
  filter(filters) {
    this.filters = { ...FILTERS, ...filters };
    this.#buildControls();
    this.#update();
  }

  #buildControls() {
    const { filters, rows } = this;
    const set = (name) => (value) => {
      this.filters[name] = value;
      this.#update();
    };
    const options = (field, all, text = (value) => value) => {
      const values = [...new Set(rows.map((row) => row[field]))].filter(Boolean).sort();
      return [["", all], ...values.slice(0, 200).map((value) => [value, text(value)])];
    };
    const search = searchBox("Filter by name, looked-up name, address or program", set("text"));
    search.querySelector("input").value = filters.text;
    const choices = [
      ["verdict", "Verdict", options("verdict", "all verdicts", verdictText)],
      ["transport", "Transport", options("transport", "all transports")],
      ["step", "Step", options("step", "all steps")],
    ];
    const selects = choices
      .filter(([name, , values]) => values.length > 2 || filters[name])
      .map(([name, label, values]) => select(label, values, filters[name], set(name)));
    const sorts = [["", "as it is to be read"], ...this.columns.flatMap(({ key, label, numeric }) =>
      numeric ? [[`${key} descending`, `${label}, most first`]] : [[`${key} ascending`, label]])];
    const sorting = select("Sort by", sorts, this.sort ? `${this.sort.key} ${this.sort.way}` : "", (value) => this.#sortBy(...value.split(" ")));
    sorting.classList.add("narrow-only");
    this.controls.replaceChildren(search, ...selects, sorting,
      ...(rows.some((row) => row.novel) ? [checkBox("only new", filters.novel, set("novel"))] : []),
      ...(rows.some((row) => row.failed) ? [checkBox("only failed", filters.failed, set("failed"))] : []),
      ...(filters.denied ? [checkBox("only what your policy denies", true, set("denied"))] : []),
      ...(filters.look ? [checkBox("only new or denied", true, set("look"))] : []));
  }

  #table() {
    const cells = this.columns.map((column) => this.#header(column));
    return h("table", { class: "rows", role: "table" },
      h("caption", { class: "hidden" }, `${this.name}: choose a column’s name to sort by it`),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...cells)),
      this.body);
  }

  #header({ key, label, numeric }) {
    const mark = h("span", { class: "way", "aria-hidden": "true" }, WAYS.none);
    const button = h("button", { type: "button", onclick: () => this.#turn(key, numeric) }, label, mark);
    const cell = h("th", { scope: "col", role: "columnheader", class: numeric && "number" }, button);
    this.headers.set(key, { cell, mark });
    return cell;
  }

  /** Sorts by a column: first the usual way, then the other way round, then not at all. */
  #turn(key, numeric) {
    const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
    const now = this.sort?.key === key ? this.sort.way : null;
    if (now === second) this.#sortBy();
    else this.#sortBy(key, now === first ? second : first);
  }

  #sortBy(key, way) {
    this.sort = key ? { key, way } : null;
    for (const [each, { cell, mark }] of this.headers) {
      if (each === key) cell.setAttribute("aria-sort", way);
      else cell.removeAttribute("aria-sort");
      mark.textContent = WAYS[each === key ? way : "none"];
    }
    this.#update();
  }

  #matching() {
    const { text, verdict, transport, step, novel, failed, denied, look } = this.filters;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = this.rows.filter((row) =>
      (!verdict || row.verdict === verdict) &&
      (!transport || row.transport === transport) &&
      (!step || row.step === step) &&
      (!novel || row.novel) &&
      (!failed || row.failed > 0) &&
      (!denied || row.effect === "deny") &&
      (!look || row.novel || row.isAgainst) &&
      words.every((word) => row.search.includes(word)));
    return this.sort ? sorted(kept, COLUMNS.find(({ key }) => key === this.sort.key).value, this.sort.way) : kept;
  }

  #update() {
    this.matching = this.#matching();
    this.limit = PORTION;
    this.body.replaceChildren();
    this.#fill(0);
    const { length } = this.matching;
    const of = length === this.rows.length ? "" : ` of ${number(this.rows.length)}`;
    this.status.textContent = `${number(length)}${of} ${this.rows.length === 1 ? "row" : "rows"}, ${counted(sum(this.matching, "attempts"), "attempt")}`;
    if (!length) this.body.append(h("tr", { role: "row", class: "none" }, h("td", { role: "cell", colspan: this.columns.length }, "Nothing is like that.")));
  }

  #showMore() {
    const from = this.limit;
    this.limit += PORTION;
    this.#fill(from);
    this.body.querySelectorAll("tr.row")[from]?.querySelector("button").focus();
  }

  #fill(from) {
    this.body.append(...this.matching.slice(from, this.limit).map((row) => this.#row(row)));
    const left = this.matching.length - this.limit;
    this.more.hidden = left <= 0;
    this.more.textContent = `Show ${number(Math.min(left, PORTION))} more of ${number(left)}`;
  }

  #row(row) {
    const button = h("button", { type: "button", class: "open", "aria-expanded": "false" },
      h("span", { class: "twist", "aria-hidden": "true" }), row.destination);
    const look = row.verdict === "deny" ? "is-deny" : row.verdict === "audit" ? "is-audit" : row.novel ? "is-new" : "";
    const isOpenedBy = ({ target }) => !target.closest("button, a") && getSelection().type !== "Range";
    const cells = this.columns.slice(1).map(({ label, cell, numeric, look }) =>
      h("td", { role: "cell", "data-label": label, class: numeric ? "number" : look }, cell(row) || null));
    const toggle = () => this.#toggle(row, line, button);
    const line = h("tr", { role: "row", class: `row opens ${look}`, onclick: (event) => isOpenedBy(event) && toggle() },
      h("th", { scope: "row", role: "rowheader", class: "destination" }, button, row.novel === true ? [" ", newBadge()] : null, askedText(row.asked)), ...cells);
    button.addEventListener("click", toggle);
    return line;
  }

  #toggle(row, line, button) {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) line.nextElementSibling.remove();
    else line.after(h("tr", { role: "row", class: "details" }, h("td", { role: "cell", colspan: this.columns.length }, detailsOf(this.job, row))));
  }
}

function sorted(rows, value, way) {
  const collator = new Intl.Collator("en", { numeric: true });
  const turn = way === "ascending" ? 1 : -1;
  const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
  return rows.map((row) => [value(row), row]).sort(([a], [b]) => turn * compare(a, b)).map(([, row]) => row);
}

function destinationsView(job) {
  const table = new DestinationTable(job, job.remote, "Destinations");
  const local = job.local;
  const element = h("div", {}, job.remote.length ? table.element : h("p", { class: "empty" }, "None of its processes reached beyond this machine."));
  if (local.length) element.append(later("loopback", `On this machine: ${counted(sum(local, "attempts"), "attempt")}`,
    () => new DestinationTable(job, local, "Loopback").element));
  return { element, filter: (filters) => table.filter(filters) };
}

/** A fold whose contents are made when it is opened. */
function later(name, summary, make) {
  const box = h("details", { class: name }, h("summary", {}, summary));
  box.addEventListener("toggle", () => box.open && box.childElementCount === 1 && box.append(make()));
  return box;
}
