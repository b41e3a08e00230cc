/* The view of destinations that the baseline doesn't have. */

const NEWS_MAX = 200;
const LEARN = "ci-egress baseline learn ci-egress --output baseline.yaml\nci-egress report ci-egress --baseline baseline.yaml --report report.html\n";

function newsView(job) {
  const rows = job.remote.filter((row) => row.novel === true);
  if (!knowsNews(job)) return { element: noBaseline() };
  if (!rows.length) return { element: h("p", { class: "empty" }, h("b", {}, "Nothing is new. "), "The baseline has all that this job connected to.") };
  const element = h("div", { class: "news" },
    h("p", { class: "lead" }, `${counted(distinct(rows), "destination")} ${distinct(rows) === 1 ? "is" : "are"} not in the baseline, or not from these processes. What is expected can be added to it; what isn’t should be looked into.`),
    h("ol", { class: "cards" }, ...rows.slice(0, NEWS_MAX).map((row) => newsCard(job, row))),
    rows.length > NEWS_MAX && h("p", { class: "muted" }, `… and ${number(rows.length - NEWS_MAX)} more: see the destinations.`),
    ...job.additions.filter((each) => !each.is_policy).map(addition));
  return { element };
}

function newsCard(job, row) {
  const act = job.actsOf(row)[0];
  const line = act === undefined ? "" : job.lineOf(act);
  return h("li", { class: "card" },
    h("h3", {}, row.destination, " ", ...signals(row)),
    h("p", { class: "muted" }, `${counted(row.attempts, "attempt")} over ${row.transport}, the first ${duration(row.first)} after the job began${row.step ? `, in step ${row.step}` : ""}`),
    row.asked.length > 0 && h("p", {}, askedText(row.asked)),
    h("p", {}, chainText(row.chain)),
    line && h("p", {}, h("code", { class: "command" }, line)),
    row.known !== null && h("p", { class: "muted" }, whyNew(row)));
}

function noBaseline() {
  return h("div", { class: "empty" }, h("p", {}, h("b", {}, "Nothing to compare with: "), "neither the job nor this report had a baseline."),
    h("p", {}, "Learn one from runs that you trust, and hold others against it. ", h("code", {}, "ci-egress"), " stands for the folder of their traces: the one of ", h("code", {}, "--otlp-dir"), "."),
    textBlock("Learn a baseline", LEARN, "the commands"));
}

function addition({ title, where, text, more }) {
  const rest = more > 0 && h("p", { class: "muted" }, `… and ${number(more)} more: ci-egress baseline learn has them all.`);
  return h("div", { class: "addition" }, textBlock(title, text, title.toLowerCase(), where), rest);
}

/** A block of text to copy. */
function textBlock(title, text, what, where = "") {
  return h("section", { class: "text-block" }, h("div", { class: "text-head" }, h("div", {}, h("h3", {}, title), where && h("p", { class: "muted where" }, where)), copyButton(() => text, "Copy", what)),
    h("pre", { tabindex: "0", role: "region", "aria-label": title }, text));
}
