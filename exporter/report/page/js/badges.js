/* Signals: each has a sign and a word, so that none is told by its colour alone. */

const ASKED_SHOWN = 3;
const SIGNS = { allow: "✓", audit: "◐", deny: "✕" };

function badge(kind, text, sign = "") {
  return h("span", { class: `badge ${kind}` }, sign && h("span", { "aria-hidden": "true" }, `${sign} `), text);
}

const newBadge = () => badge("new", "new", "✦");

function verdictBadge(verdict, isJudged = true) {
  if (!isJudged) return badge("", "not judged");
  const kind = Object.hasOwn(SIGNS, verdict) ? verdict : "";
  return badge(kind, verdictText(verdict), SIGNS[verdict] ?? "");
}

function effectBadge(effect) {
  return effect === "deny" ? badge("deny", "denies", SIGNS.deny) : badge("allow", "allows", SIGNS.allow);
}

/** What is to be said of a row besides where it goes; nothing of what is allowed and known. */
function signals(row) {
  const denies = row.effect === "deny" && row.verdict === "allow" && badge("deny", "your policy denies", SIGNS.deny);
  return [row.novel === true && newBadge(), row.verdict !== "allow" && verdictBadge(row.verdict), denies].filter(Boolean);
}

/** What lookups asked for. */
function askedText(names) {
  if (!names.length) return null;
  const more = names.length - ASKED_SHOWN;
  return h("span", { class: "asked" }, "asks for ", h("span", { class: "destination" }, names.slice(0, ASKED_SHOWN).join(", ")), more > 0 && ` and ${number(more)} more`);
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
