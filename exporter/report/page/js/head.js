/* What one reads first: which job, whether this is everything, how much, and what to look at. */

const LOOK_MAX = 6;

function headOf(job, show) {
  return h("header", { class: "head" }, titleOf(job), completeness(), notesOf(job), tilesOf(job, show), lookAt(job, show));
}

function titleOf(job) {
  const origin = [job.repository, job.pipeline, job.run && `run ${job.run}`].filter(Boolean).join(" · ");
  const facts = [job.started, job.duration > 0 && `took ${duration(job.duration)}`].filter(Boolean);
  return h(
    "div",
    { class: "title" },
    origin && h("p", { class: "eyebrow" }, origin),
    h("h1", {}, job.title),
    h("p", { class: "facts" }, ...facts.map((fact) => h("span", {}, fact)), modeOf(job), traceOf(job)),
  );
}

function modeOf(job) {
  if (job.mode === "enforce") return badge("accent", "enforced", "◆");
  if (job.mode === "audit") return badge("accent", "audited: nothing was denied", "◇");
  return badge("", "traced: no policy");
}

function traceOf(job) {
  if (!job.trace) return null;
  const id = h("code", { title: job.trace }, job.trace.slice(0, 8), "…");
  const link = job.trace_url && h("a", { href: job.trace_url, rel: "noopener noreferrer" }, "Open the trace ↗");
  return h("span", { class: "trace" }, link || ["trace ", id], copyButton(() => job.trace, "Copy id", "the trace id"));
}

/** Of the exporter that wrote the files, so of all jobs together. */
function completeness() {
  const { account } = report;
  if (!account) {
    return h("p", { class: "account unknown" }, sign("?"), h("span", {}, h("b", {}, "Completeness isn’t known: "),
      "no metrics came with the spans."));
  }
  const { attempts, exported, aggregated, dropped, pending } = account;
  const all = jobs.length > 1 ? " in all jobs" : "";
  const parts = [`${number(exported)} one by one`, aggregated && `${number(aggregated)} counted together`];
  const missing = [dropped && `${number(dropped)} dropped`, pending && `${number(pending)} still on their way`];
  if (!dropped && !pending && exported + aggregated === attempts) {
    return h("p", { class: "account ok" }, sign("✓"), h("span", {}, h("b", {}, "Complete: "),
      `${counted(attempts, "attempt")}${all}, ${number(attempts)} accounted for `,
      h("span", { class: "muted" }, `(${parts.filter(Boolean).join(", ")})`)));
  }
  return h("p", { class: "account lost" }, sign("!"), h("span", {}, h("b", {}, "Incomplete: "),
    `${counted(attempts, "attempt")}${all}, ${number(exported + aggregated)} accounted for; `,
    missing.filter(Boolean).join(", ") || "the sums differ", "."));
}

const sign = (text) => h("span", { class: "sign", "aria-hidden": "true" }, text);

function notesOf(job) {
  const open = job.is_open ? ["The job’s own span is missing: it still runs, or was killed."] : [];
  const notes = [...open, ...job.notes, ...report.notes];
  return notes.length ? h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))) : null;
}

function tilesOf(job, show) {
  const rows = job.remote;
  const against = (verdict) => rows.filter((row) => row.verdict === verdict);
  const [novel, denied, audited] = [rows.filter((row) => row.novel), against("deny"), against("audit")];
  const knowsNews = report.has_baseline || rows.some((row) => row.novel !== null);
  return h("ul", { class: "tiles" },
    tile(distinct(rows), "destinations", counted(sum(rows, "attempts"), "attempt"), "", () => show({})),
    knowsNews
      ? tile(distinct(novel), "new", counted(sum(novel, "attempts"), "attempt"), "new", () => show({ novel: true }))
      : tile("–", "new", "no baseline to compare with", "", null),
    job.mode !== "audit" &&
      tile(distinct(denied), "denied", counted(sum(denied, "attempts"), "attempt"), "deny", () => show({ verdict: "deny" })),
    (job.mode === "audit" || audited.length > 0) &&
      tile(distinct(audited), "would be denied", counted(sum(audited, "attempts"), "attempt"), "audit", () => show({ verdict: "audit" })),
    tile(sum(rows, "failed"), "failed attempts", "refused, timed out, reset", "", () => show({ failed: true })),
    tile(size(sum(rows, "received")) || "–", "received", `${size(sum(rows, "sent")) || "nothing"} sent`, "", null),
  );
}

function tile(value, label, more, kind, onclick) {
  const isQuiet = value === 0 || !onclick;
  const inside = [
    h("span", { class: "value" }, typeof value === "number" ? number(value) : value),
    h("span", { class: "label" }, label),
    h("span", { class: "more" }, more),
  ];
  const look = `tile ${isQuiet ? "" : kind}`;
  return h("li", {}, onclick && value ? h("button", { type: "button", class: look, onclick }, ...inside) : h("div", { class: look }, ...inside));
}

/** What is new or denied, the first of it. */
function lookAt(job, show) {
  const rows = job.remote.filter((row) => row.novel || row.verdict !== "allow");
  if (!rows.length) return null;
  const more = rows.length - LOOK_MAX;
  return h("section", { class: "look card", "aria-labelledby": "look" },
    h("h2", { id: "look" }, "Look at this first"),
    h("ul", {}, ...rows.slice(0, LOOK_MAX).map((row) => lookItem(row, show))),
    more > 0 && h("p", {}, h("button", { type: "button", class: "link", onclick: () => show({ look: true }) },
      `Show ${counted(more, "more row")}`)),
  );
}

function lookItem(row, show) {
  const name = h("button", { type: "button", class: "link strong", onclick: () => show({ text: row.destination }) }, row.destination);
  const times = row.attempts > 1 ? ` × ${number(row.attempts)}` : "";
  return h("li", {},
    h("span", { class: "signals" }, ...signals(row)),
    h("span", { class: "what" }, name, h("span", { class: "muted" }, times, row.step ? ` in step ${row.step}` : "")),
    h("span", { class: "by" }, h("span", { class: "muted" }, "by "), chainText(row.chain)),
  );
}
