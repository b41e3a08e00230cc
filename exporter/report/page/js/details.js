/* The details of one row. */

const ACTS_SHOWN = 20;
const SHARED = ", which is for another name of the address";

function detailsOf(job, row) {
  const acts = job.actsOf(row);
  return h("div", { class: "detail" }, h("dl", {}, ...factList(factsOf(job, row))), acts.length ? actsList(job, acts) : null);
}

/** Pairs of name and value; `factList` leaves out the pairs without a value. */
function factsOf(job, row) {
  const rule = row.rule && h("code", {}, row.rule);
  const would = row.effect && [effectBadge(row.effect), " by ", ruleText(row)];
  const addresses = row.addresses.filter((address) => !row.destination.startsWith(address));
  return [
    ["Verdict", [verdictBadge(row.verdict, job.is_judged), rule ? [" by ", rule, row.shared && SHARED] : null].flat()],
    ["Your policy", would],
    ["Baseline", row.novel === true ? whyNew(row) : row.novel === false ? "known" : null],
    ["First", `${duration(row.first)} after the job began`],
    ["Asked for", row.asked.length ? row.asked.join(", ") : null],
    ["Addresses", addresses.length ? addresses.join(", ") : null],
    ["Step", row.step || null],
  ];
}

function factList(known) {
  return known
    .filter(([, value]) => value)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...[value].flat())));
}

function ruleText(row) {
  if (!row.wouldRule) return "no rule: nothing is sent";
  return h("span", {}, h("code", {}, row.wouldRule), row.would_line ? ` (line ${row.would_line})` : "", row.would_share && SHARED);
}

function whyNew(row) {
  if (row.known === true) return "new: the destination is known, but not from these processes";
  return row.known === false ? "new: the destination isn’t in the baseline" : "new to the baseline that the job had";
}

function actsList(job, acts) {
  const columns = ["After", "Outcome", "Address", "Attempts", "Sent", "Received", "Command line"];
  const more = acts.length - ACTS_SHOWN;
  const table = h("table", { class: "acts", role: "table" },
    h("caption", { class: "hidden" }, "Each attempt"),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...columns.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
    h("tbody", { role: "rowgroup" }, ...acts.slice(0, ACTS_SHOWN).map((act) => actLine(job, act, columns))));
  return h("div", { class: "acts-box table-box" }, table, more > 0 && h("p", { class: "muted" }, `… and ${number(more)} more`));
}

function actLine(job, act, columns) {
  const { acts } = job;
  const question = textAt(acts.question[act]);
  const error = textAt(acts.error[act]);
  const line = job.lineOf(act);
  const values = [
    duration(acts.start[act]),
    [job.outcome(act), error && ` (${error})`].filter(Boolean).join(""),
    [textAt(acts.address[act]), question && `asked for ${question}`].filter(Boolean).join(", "),
    number(acts.attempts[act]),
    size(acts.sent[act]),
    size(acts.received[act]),
    line && h("code", {}, line),
  ];
  return h("tr", { role: "row" }, ...values.map((value, place) => h("td", { role: "cell", "data-label": columns[place] }, value || null)));
}
