/* Signals: each has a sign and a word, so that none is told by its colour alone. */

const SIGNS = { allow: "✓", audit: "◐", deny: "✕" };

function badge(kind, text, sign = "") {
  return h("span", { class: `badge ${kind}` }, sign && h("span", { "aria-hidden": "true" }, `${sign} `), text);
}

const newBadge = () => badge("new", "new", "✦");

function verdictBadge(verdict) {
  const kind = Object.hasOwn(SIGNS, verdict) ? verdict : "";
  return badge(kind, verdictText(verdict), SIGNS[verdict] ?? "");
}

function effectBadge(effect) {
  return effect === "deny" ? badge("deny", "denies", SIGNS.deny) : badge("allow", "allows", SIGNS.allow);
}

/** What is to be said of a row besides where it goes; nothing of what is allowed and known. */
function signals(row) {
  return [row.novel === true && newBadge(), row.verdict !== "allow" && verdictBadge(row.verdict)].filter(Boolean);
}

/** Who did it, from the job's root on. */
function chainText(chain) {
  if (!chain.length) return h("span", { class: "muted" }, "unknown");
  const parts = chain.flatMap((name, place) => [
    place ? h("span", { class: "arrow", "aria-hidden": "true" }, " › ") : null,
    place ? h("span", { class: "hidden" }, " started ") : null,
    place === chain.length - 1 ? h("b", {}, name) : name,
  ]);
  return h("span", { class: "chain" }, ...parts);
}
