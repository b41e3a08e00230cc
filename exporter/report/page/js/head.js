/* The head of the page: the job, whether the account is complete, sums, and the destinations to look at first. */

const LOOK_MAX = 6;

function headOf(job, show) {
  return h("header", { class: "head" }, titleOf(job), completeness(job), unjudged(job), notesOf(job), tilesOf(job, show), lookAt(job, show));
}

function titleOf(job) {
  const origin = [job.repository, job.pipeline, job.run && `run ${job.run}`].filter(Boolean).join(" · ");
  const facts = [job.started, job.duration > 0 && `took ${duration(job.duration)}`].filter(Boolean);
  return h(
    "div",
    { class: "title" },
    origin && h("p", { class: "eyebrow" }, origin),
    h("h1", {}, job.title),
    job.command >= 0 && h("p", { class: "facts" }, h("code", { class: "command" }, textAt(job.command))),
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

/** The account of the exporter that wrote the files, so of all jobs together. */
function completeness(job) {
  const { account } = report;
  if (!account) {
    return h("p", { class: "account unknown" }, sign("?"), h("span", {}, h("b", {}, "Completeness isn’t known: "),
      "no metrics came with the spans."));
  }
  const { attempts, exported, aggregated, dropped, pending } = account;
  const all = jobs.length > 1 ? " in all jobs" : "";
  const parts = [jobs.length === 1 && whereTo(job), aggregated && `${number(aggregated)} of them counted together`];
  const told = parts.filter(Boolean).join("; ");
  const missing = [dropped && `${number(dropped)} dropped`, pending && `${number(pending)} still on their way`];
  if (!dropped && !pending && exported + aggregated === attempts) {
    return h("p", { class: "account ok" }, sign("✓"), h("span", {}, h("b", {}, "Complete record: "),
      `the kernel counted ${counted(attempts, "attempt")}${all}, and ${number(attempts)} ${attempts === 1 ? "is" : "are"} accounted for `,
      told && h("span", { class: "muted" }, `(${told})`)));
  }
  return h("p", { class: "account lost" }, sign("!"), h("span", {}, h("b", {}, "Incomplete record: "),
    `${counted(attempts, "attempt")}${all}, ${number(exported + aggregated)} accounted for; `,
    missing.filter(Boolean).join(", ") || "the sums differ", "."));
}

/** How many attempts left the machine, and how many didn’t. */
function whereTo(job, what = "") {
  const [away, inside] = [false, true].map((here) => sum(job.rows.filter((row) => Boolean(row.loopback) === here), "attempts"));
  return inside ? `${number(away)}${what} off this machine + ${number(inside)} on it` : "";
}

/** A note where there is neither a baseline nor a policy: nothing was judged. */
function unjudged(job) {
  if (job.is_judged || report.has_policy || knowsNews(job) || !job.remote.length) return null;
  const link = (view, text) => h("a", { class: "link", href: `#${view}`, onclick: (event) => openView(event, view) }, text);
  return h("p", { class: "account unjudged" }, sign("i"), h("span", {}, h("b", {}, "Nothing judged this run. "),
    "Next, ", link("news", "learn a baseline"), " from runs that you trust, or ", link("policy", "start with the drafted policy"), "."));
}

const knowsNews = (job) => report.has_baseline || job.rows.some((row) => row.novel !== null);

const sign = (text) => h("span", { class: "sign", "aria-hidden": "true" }, text);

function notesOf(job) {
  const open = job.is_open ? ["The job’s own span is missing: it still runs, or was killed."] : [];
  const notes = [...open, ...job.notes, ...report.notes];
  return notes.length ? h("ul", { class: "notes" }, ...notes.map((note) => h("li", {}, note))) : null;
}

function tilesOf(job, show) {
  const rows = job.remote;
  const novel = rows.filter((row) => row.novel);
  const [away, failed] = [sum(rows, "failed"), sum(job.local, "failed")];
  return h("ul", { class: "tiles" },
    tile(distinct(rows), "destinations", whereTo(job, " attempts") || counted(sum(rows, "attempts"), "attempt"), "", () => show({})),
    knowsNews(job)
      ? tile(distinct(novel), "new", counted(sum(novel, "attempts"), "attempt"), "new", () => show({ novel: true }))
      : tile("–", "new", "no baseline to compare with", "", null),
    ...verdictTiles(job, show),
    tile(away, "failed attempts", failed ? `and ${number(failed)} on this machine` : "refused, timed out, reset", "", () => show({ failed: true })),
    tile(size(sum(rows, "received")) || "–", "received", `${size(sum(rows, "sent")) || "nothing"} sent`, "", null),
  );
}

function verdictTiles(job, show) {
  const tileOf = (rows, label, kind, filters) => tile(distinct(rows), label, counted(sum(rows, "attempts"), "attempt"), kind, () => show(filters));
  const against = (verdict) => job.remote.filter((row) => row.verdict === verdict);
  const [denied, audited] = [against("deny"), against("audit")];
  if (!job.is_judged) {
    if (!report.has_policy) return [tile("–", "denied", "no policy", "", null)];
    return [tileOf(job.remote.filter((row) => row.effect === "deny"), "denied by your policy", "deny", { denied: true })];
  }
  return [
    job.mode !== "audit" && tileOf(denied, "denied", "deny", { verdict: "deny" }),
    (job.mode === "audit" || audited.length > 0) && tileOf(audited, "would be denied", "audit", { verdict: "audit" }),
  ];
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

/** The first destinations that are new or denied. */
function lookAt(job, show) {
  const rows = job.remote.filter((row) => row.novel || row.isAgainst);
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
    h("span", { class: "what" }, name, " ", askedText(row.asked), h("span", { class: "muted" }, times, row.step ? ` in step ${row.step}` : "")),
    h("span", { class: "by" }, h("span", { class: "muted" }, "by "), chainText(row.chain)),
  );
}
