/* The tree of programs (the ARIA treeview pattern), with their destinations as leaves. Branches are made when they
   are opened, many children in portions. */

const BRANCH = 100;
const OPENED_MAX = 150;
const FOUND_MAX = 200;
const UNTOLD = new Set(["unknown", "asked"]); // outcomes that a line doesn't repeat
const [DEEP, DEEPEST] = [12, 60]; // levels from which on the indentation grows less, and no more

class TreeView {
  constructor(job) {
    this.job = job;
    this.tree = job.tree;
    this.isAll = false;
    this.found = null;
    this.list = h("ul", { role: "tree", class: "tree", "aria-label": "Programs, and where they went", onkeydown: (event) => this.#key(event),
      onclick: (event) => this.#click(event), onfocusin: (event) => this.#focused(event) });
    this.status = h("p", { class: "status", role: "status" });
    this.pane = new Pane(this.job, () => this.#closed());
    const quiet = this.tree.attempts.filter((attempts) => !attempts).length;
    this.element = h("div", {},
      h("div", { class: "controls" }, searchBox("Search programs and destinations", (text) => this.#search(text)),
        quiet > 0 && checkBox(`also ${counted(quiet, "program")} that made no connection`, false, (isAll) => this.#show(isAll))),
      this.status, h("div", { class: "tree-and-pane" }, this.list, this.pane.element),
      h("p", { class: "muted hint" }, "A click, or Enter, tells all of a line. Keys: ↑ ↓ move, → opens, ← closes, * opens all beside, Home and End go to the ends, Tab goes to the details, Escape closes them."));
    this.#build();
  }

  #show(isAll) {
    this.isAll = isAll;
    this.#build();
  }

  #search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.found = words.length ? this.#matching(words) : null;
    this.#build();
  }

  /** Programs and leaves that have all words, and the programs above them. */
  #matching(words) {
    const { tree, job } = this;
    const programs = new Set();
    const hits = new Set();
    let count = 0;
    tree.children.forEach((_, program) => {
      const own = `${tree.name(program)}\n${tree.line(program)}\n${job.programs.pid[program] ?? ""}`.toLowerCase();
      const isHit = words.every((word) => own.includes(word));
      const isThere = [...tree.leaves[program].values()].some((leaf) => leafHas(leaf, words));
      if ((!isHit && !isThere) || count >= FOUND_MAX) return;
      count += 1;
      if (isHit) hits.add(program);
      for (let above = program; above >= 0 && !programs.has(above); above = job.programs.parent[above]) programs.add(above);
    });
    return { words, programs, hits, count };
  }

  #build() {
    let left = OPENED_MAX;
    const roots = this.#visible(this.tree.roots);
    this.list.replaceChildren();
    const items = [...roots.map((program) => ({ program })), ...[...this.tree.unowned.values()].map((leaf) => ({ leaf }))];
    this.#append(this.list, items, 1, 0);
    const waiting = [...this.list.children];
    while (waiting.length && left > 0) {
      const item = waiting.shift();
      if (!item.hasAttribute("aria-expanded")) continue;
      this.#open(item);
      const made = [...item.querySelector(":scope > [role=group]").children];
      left -= made.length;
      waiting.push(...made);
    }
    this.list.querySelector("[role=treeitem]")?.setAttribute("tabindex", "0");
    this.list.hidden = !items.length;
    const { found } = this;
    this.status.textContent = found
      ? `${found.count >= FOUND_MAX ? "at least " : ""}${counted(found.count, "program")} found`
      : `${counted(this.tree.children.length, "program")}, ${counted(this.job.acts.row.length, "act")}`;
  }

  #visible(programs) {
    if (this.found) return programs.filter((program) => this.found.programs.has(program));
    return this.isAll ? programs : programs.filter((program) => this.tree.attempts[program] > 0);
  }

  #childrenOf(program) {
    const { tree, found } = this;
    const leaves = [...tree.leaves[program].values()].filter((leaf) => !found || found.hits.has(program) || leafHas(leaf, found.words));
    return [...leaves.map((leaf) => ({ leaf })), ...this.#visible(tree.children[program]).map((each) => ({ program: each }))];
  }

  /** Makes items from the index `from` on, and at the end one that makes more. */
  #append(list, items, level, from) {
    const shown = items.slice(from, from + BRANCH);
    shown.forEach((item, place) => {
      const made = item.leaf ? this.#leaf(item.leaf) : this.#program(item.program);
      made.setAttribute("aria-level", level);
      made.setAttribute("aria-setsize", items.length);
      made.setAttribute("aria-posinset", from + place + 1);
      list.append(made);
    });
    const left = items.length - from - shown.length;
    if (left <= 0) return;
    const more = h("li", { role: "treeitem", tabindex: "-1", class: "more", "aria-level": level }, h("span", { class: "line" }, `Show ${number(Math.min(left, BRANCH))} more of ${number(left)}`));
    more.activate = () => {
      this.#append(list, items, level, from + BRANCH);
      this.#focus(more.nextElementSibling);
      more.remove();
    };
    list.append(more);
  }

  #program(program) {
    const { tree, job } = this;
    const pid = job.programs.pid[program];
    const [news, against] = [tree.news[program], tree.against[program]];
    const hasMore = this.#childrenOf(program).length > 0;
    const isOther = !this.found || this.found.hits.has(program);
    const line = h("span", { class: "line" }, h("span", { class: "twist", "aria-hidden": "true" }),
      h("span", { class: "program" }, h("b", {}, tree.name(program)), pid !== null && h("span", { class: "muted pid" }, ` ${pid}`)),
      h("span", { class: "signals" }, news > 0 && badge("new", `${number(news)} new`, "✦"), against > 0 && badge(job.mode === "audit" ? "audit" : "deny", `${number(against)} ${job.mode === "audit" ? "would be denied" : "denied"}`, job.mode === "audit" ? "◐" : "✕")),
      tree.attempts[program] > 0 && h("span", { class: "count muted" }, counted(tree.attempts[program], "attempt")),
      tree.line(program) && h("code", { class: "command" }, tree.line(program)));
    const item = h("li", { role: "treeitem", tabindex: "-1", class: isOther ? null : "above", "aria-expanded": hasMore && "false" }, line);
    item.program = program;
    return item;
  }

  #leaf(leaf) {
    const { row, attempts, acts } = leaf;
    const outcomes = new Map();
    for (const act of acts) {
      const outcome = this.job.outcome(act);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + this.job.acts.attempts[act]);
    }
    const all = outcomes.size === 1 ? [...outcomes.keys()] : [...outcomes].map(([outcome, times]) => `${number(times)} ${outcome}`);
    const told = [attempts > 1 && `× ${number(attempts)}`, ...all.filter((each) => !UNTOLD.has(each)), sizes(leaf.sent, leaf.received)].filter(Boolean).join(", ");
    const item = h("li", { role: "treeitem", tabindex: "-1", class: "leaf" },
      h("span", { class: "line" }, h("span", { class: "to", "aria-hidden": "true" }, "→"),
        h("span", { class: "destination" }, row.destination), row.transport !== "tcp" && h("span", { class: "muted" }, ` ${row.transport}`),
        askedText([...leaf.asked]),
        h("span", { class: "signals" }, row.loopback && badge("", row.transport === "unix" ? "Unix socket" : "loopback"), ...signals(row)),
        h("span", { class: "count muted" }, told)));
    item.leaf = leaf;
    return item;
  }

  /** Selects the item, and shows its details in the pane. */
  #tell(item) {
    this.list.querySelector("[aria-selected]")?.removeAttribute("aria-selected");
    if (item.activate) return;
    item.setAttribute("aria-selected", "true");
    if (item.leaf) this.pane.showActs(item.leaf);
    else this.pane.showProgram(item.program);
  }

  #closed() {
    const item = this.list.querySelector("[aria-selected]");
    item?.removeAttribute("aria-selected");
    this.#focus(item ?? this.list.querySelector("[tabindex='0']"));
  }

  #open(item) {
    if (item.getAttribute("aria-expanded") !== "false") return;
    item.setAttribute("aria-expanded", "true");
    const level = Number(item.getAttribute("aria-level")) + 1;
    const group = h("ul", { role: "group", class: level > DEEPEST ? "deepest" : level > DEEP ? "deep" : null });
    this.#append(group, this.#childrenOf(item.program), level, 0);
    item.append(group);
  }

  #close(item) {
    if (item.getAttribute("aria-expanded") !== "true") return;
    item.setAttribute("aria-expanded", "false");
    item.querySelector(":scope > [role=group]").remove();
  }

  #toggle(item) {
    this.#tell(item);
    if (item.activate) item.activate();
    else if (item.leaf) return;
    else if (item.getAttribute("aria-expanded") === "true") this.#close(item);
    else this.#open(item);
  }

  #focus(item) {
    if (!item) return;
    this.list.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    item.setAttribute("tabindex", "0");
    item.focus();
  }

  #focused({ target }) {
    if (target.getAttribute("tabindex") !== "0") this.#focus(target.closest("[role=treeitem]"));
  }

  #click(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || !event.target.closest(".line") || getSelection().type === "Range") return;
    this.#focus(item);
    this.#toggle(item);
  }

  #key(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.ctrlKey || event.altKey || event.metaKey) return;
    const items = [...this.list.querySelectorAll("[role=treeitem]")];
    const place = items.indexOf(item);
    const isOpen = item.getAttribute("aria-expanded") === "true";
    const acts = {
      ArrowDown: () => this.#focus(items[place + 1]),
      ArrowUp: () => this.#focus(items[place - 1]),
      ArrowRight: () => (isOpen ? this.#focus(items[place + 1]) : this.#open(item)),
      ArrowLeft: () => (isOpen ? this.#close(item) : this.#focus(item.parentElement.closest("[role=treeitem]"))),
      Home: () => this.#focus(items[0]),
      End: () => this.#focus(items.at(-1)),
      Escape: () => this.pane.isOpen && this.pane.close(),
      Enter: () => this.#toggle(item),
      " ": () => this.#toggle(item),
      "*": () => [...item.parentElement.children].forEach((each) => this.#open(each)),
    };
    if (acts[event.key]) {
      acts[event.key]();
      event.preventDefault();
    } else if (event.key.length === 1) {
      this.#focus([...items.slice(place + 1), ...items.slice(0, place)].find((each) => each.querySelector(".line").textContent.toLowerCase().startsWith(event.key.toLowerCase())));
    }
  }
}

/** Whether all words are in the leaf's destination and the names that it asked for. */
function leafHas({ row, asked }, words) {
  const own = [row.destination, ...asked].join("\n").toLowerCase();
  return words.every((word) => own.includes(word));
}

function treeView(job) {
  if (!job.acts.row.length && !job.programs.parent.length) return { element: h("p", { class: "empty" }, "Nothing was recorded.") };
  return { element: new TreeView(job).element };
}
