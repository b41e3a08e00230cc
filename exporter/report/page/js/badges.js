/* Signals: each has a sign and a word, so that none is only a colour. */

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

/** Badges of a row: new, denied or would be, denied by the reader's policy. None if it is allowed and known. */
function signals(row) {
  const denies = row.effect === "deny" && row.verdict === "allow" && badge("deny", "your policy denies", SIGNS.deny);
  return [row.novel === true && newBadge(), row.verdict !== "allow" && verdictBadge(row.verdict), denies].filter(Boolean);
}

/** The names that lookups asked for. */
function askedText(names) {
  if (!names.length) return null;
  const more = names.length - ASKED_SHOWN;
  return h("span", { class: "asked" }, "asks for ", h("span", { class: "destination" }, names.slice(0, ASKED_SHOWN).join(", ")), more > 0 && ` and ${number(more)} more`);
}

/** The chain of programs from the job's root to the one that acted. */
function chainText(chain) {
  if (!chain.length) return h("span", { class: "muted" }, "unknown");
  const parts = chain.flatMap((name, place) => [
    place ? h("span", { class: "arrow", "aria-hidden": "true" }, " › ") : null,
    place ? h("span", { class: "hidden" }, " started ") : null,
    place === chain.length - 1 ? h("b", {}, name) : name,
  ]);
  return h("span", { class: "chain" }, ...parts);
}
