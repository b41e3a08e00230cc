/* Views of a job as tabs (the ARIA pattern): each is made when it is opened. */

const VIEWS = [
  { id: "destinations", label: "Destinations", make: destinationsView, count: (job) => distinct(job.remote) },
  { id: "tree", label: "Process tree", make: treeView },
  { id: "timeline", label: "Timeline", make: timelineView },
  { id: "news", label: "What is new", make: newsView, count: (job) => distinct(job.remote.filter((row) => row.novel)) || null },
  { id: "policy", label: "Policy", make: policyView },
];

class Tabs {
  constructor(job, onopen) {
    this.job = job;
    this.onopen = onopen;
    this.views = new Map();
    this.tabs = new Map();
    this.panels = new Map();
    for (const view of VIEWS) this.#add(view);
    this.list = h("div", { class: "tabs", role: "tablist", "aria-label": "Views", onkeydown: (event) => this.#key(event) }, ...this.tabs.values());
    this.element = h("div", { class: "views" }, this.list, ...this.panels.values());
  }

  #add({ id, label, count }) {
    const amount = count?.(this.job) ?? null;
    this.tabs.set(id, h("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `view-${id}`, "aria-selected": "false", tabindex: "-1", onclick: () => this.open(id) },
      label, amount !== null && h("span", { class: "amount" }, ` ${number(amount)}`)));
    this.panels.set(id, h("section", { role: "tabpanel", id: `view-${id}`, "aria-labelledby": `tab-${id}`, class: "panel card", hidden: true }));
  }

  /** Shows the view `id`; returns the object that its `make` returned. */
  open(id) {
    for (const [each, tab] of this.tabs) {
      tab.setAttribute("aria-selected", String(each === id));
      tab.setAttribute("tabindex", each === id ? "0" : "-1");
      this.panels.get(each).hidden = each !== id;
    }
    this.onopen(id);
    return this.made(id);
  }

  made(id) {
    if (!this.views.has(id)) {
      const { make, label } = VIEWS.find((view) => view.id === id);
      const view = make(this.job);
      this.panels.get(id).append(h("h2", { class: "view-title" }, label), view.element);
      view.shown?.();
      this.views.set(id, view);
    }
    return this.views.get(id);
  }

  #key(event) {
    const ids = [...this.tabs.keys()];
    const place = ids.findIndex((id) => this.tabs.get(id).getAttribute("aria-selected") === "true");
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: -1 }[event.key];
    if (next === undefined) return;
    const id = ids.at(next % ids.length);
    this.open(id);
    this.tabs.get(id).focus();
    event.preventDefault();
  }
}
