/* The view of policies: a draft that would allow the job's acts, and the decisions of the reader's own. */

function policyView(job) {
  const additions = job.additions.filter((each) => each.is_policy).map(addition);
  const element = h("div", { class: "policy" }, report.has_policy && judged(job), ...additions, drafted(job));
  return { element };
}

function judged(job) {
  const denied = job.remote.filter((row) => row.effect === "deny");
  const lead = judgement(denied.filter((row) => row.verdict === "deny"), denied.filter((row) => row.verdict !== "deny"), job.mode === "enforce");
  const list = new VerdictList(job, [...denied, ...job.remote.filter((row) => row.effect !== "deny")]);
  return h("section", { class: "judged" }, h("h3", {}, "Your policy, held against this run"),
    h("p", { class: `verdict-line ${denied.length ? "deny" : "allow"}` }, sign(denied.length ? "✕" : "✓"), h("span", {}, ...lead)), list.element);
}

/** Sums up the rows that the policy denies: `was` are rows that were denied, `would` rows that weren’t. */
function judgement(was, would, isEnforced) {
  const told = (rows) => `${counted(sum(rows, "attempts"), "attempt")} to ${counted(distinct(rows), "destination")}`;
  if (would.length) {
    const first = isEnforced || was.length ? "It would deny more than was denied: " : "It would break this job: ";
    return [h("b", {}, first), `${told(would)} would be denied.`];
  }
  if (was.length) return [h("b", {}, "It denies what was denied: "), `${told(was)}. Every other attempt is allowed.`];
  return [h("b", {}, "It would let this job pass: "), "every attempt is allowed."];
}

class VerdictList {
  constructor(job, rows) {
    this.rows = rows;
    this.limit = 0;
    this.columns = ["Destination", "Your policy", "Rule", "Attempts", "Process chain"];
    this.body = h("tbody", { role: "rowgroup" });
    this.more = h("button", { type: "button", class: "more-rows", onclick: () => this.#show() });
    this.element = h("div", {}, tableBox(h("table", { class: "rows", role: "table" }, h("caption", { class: "hidden" }, "What your policy says to each destination, denied ones first"),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...this.columns.map((name) => h("th", { scope: "col", role: "columnheader", class: name === "Attempts" ? "number" : null }, name)))), this.body)), this.more);
    this.#show();
  }

  #show() {
    this.body.append(...this.rows.slice(this.limit, this.limit + PORTION).map((row) => this.#row(row)));
    this.limit += PORTION;
    this.more.hidden = this.rows.length <= this.limit;
    this.more.textContent = `Show more of ${number(this.rows.length - this.limit)}`;
  }

  #row(row) {
    const transport = row.transport === "tcp" ? "" : ` ${row.transport}`;
    const cell = (place, value, look = null) => h("td", { role: "cell", "data-label": this.columns[place], class: look }, value);
    return h("tr", { role: "row", class: row.effect === "deny" ? "row is-deny" : "row" },
      h("th", { scope: "row", role: "rowheader", class: "destination" }, row.destination, h("span", { class: "muted" }, transport), askedText(row.asked)),
      cell(1, effectBadge(row.effect)), cell(2, ruleText(row)), cell(3, number(row.attempts), "number"), cell(4, chainText(row.chain), "wide"));
  }
}

function drafted(job) {
  if (!job.draft) return h("p", { class: "empty" }, "Nothing was done that a policy could allow.");
  const text = `${job.draft.join("\n")}\n`;
  const against = distinct(job.remote.filter((row) => (report.has_policy && row.verdict !== "deny" ? row.effect === "deny" : row.verdict !== "allow")));
  return h("section", { "aria-labelledby": "draft" }, h("h3", { id: "draft" }, "Draft of a policy"),
    h("p", { class: "lead" }, "It allows what this job did", against > 0 && ", but for what a policy was against", ". Remove what shouldn’t be there, then run with ", h("code", {}, "--policy"), " in mode audit, and enforce it when nothing is against it any more."),
    against > 0 && h("p", { class: "verdict-line left-out" }, sign("✕"), h("span", {}, `${counted(against, "destination")} that ${against === 1 ? "was" : "were"} denied, or would be, ${against === 1 ? "isn’t" : "aren’t"} allowed by it: ${against === 1 ? "it stands" : "they stand"} at its end as comments, with the reason.`)),
    textBlock("policy.yaml", text, "the policy"),
    job.endpoints.length > 0 && textBlock("As an option", `--allowed-endpoints "${job.endpoints.join(" ")}"\n`, "the option", "The same in the syntax of allowlists in workflows; it implies resolvers: system."));
}
