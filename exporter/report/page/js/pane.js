/* The pane beside the tree, with details of one program or of its acts. */

const ABOVE_SHOWN = 30;
const BRIEF_SHOWN = 20;

class Pane {
  /** `onclose` is called when the pane is closed. */
  constructor(job, onclose) {
    this.job = job;
    this.onclose = onclose;
    this.element = h("section", { class: "pane", role: "region", "aria-label": "Details", tabindex: "0", hidden: true, onkeydown: (event) => event.key === "Escape" && this.close() });
  }

  get isOpen() {
    return !this.element.hidden;
  }

  close() {
    this.element.hidden = true;
    this.onclose();
  }

  showProgram(program) {
    const { job } = this;
    const { attempts, sent, received } = job.tree;
    const [start, end] = [job.programs.start[program], job.programs.end[program]];
    const ran = start >= 0 && `from ${duration(start)} after the job began, for ${duration(Math.max(0, end - start))}`;
    this.#show(programTitle(job, program), [
      ["Ran", ran || "not known: only what it did tells of it"],
      ["It, and what it started", [counted(attempts[program], "attempt"), sizes(sent[program], received[program])].filter(Boolean).join(", ")],
    ], program);
  }

  showActs({ row, program, acts, asked }) {
    const title = [h("span", { class: "destination" }, row.destination), row.transport !== "tcp" && ` ${row.transport}`];
    const leaf = { ...row, asked: [...asked] };
    this.#show(title, factsOf(this.job, leaf), program, briefOf(this.job, acts), this.job.lineOf(acts[0]));
  }

  #show(title, known, program, more = null, line = program < 0 ? "" : this.job.tree.line(program)) {
    const close = h("button", { type: "button", class: "copy", "aria-label": "Close the details", onclick: () => this.close() }, "✕");
    this.element.replaceChildren(
      h("div", { class: "pane-head" }, h("h3", {}, ...[title].flat().filter(Boolean)), close),
      ...(line ? [h("div", { class: "pane-line" }, h("p", { class: "muted" }, "Command line"), copyButton(() => line, "Copy", "the command line")), h("code", { class: "whole" }, line)] : []),
      h("dl", {}, ...factList(known)), ...[more, aboveOf(this.job, program, more !== null)].filter(Boolean));
    this.element.hidden = false;
    this.element.scrollTop = 0;
    announce(`Details: ${this.element.querySelector("h3").textContent}`);
  }
}

function programTitle(job, program) {
  const pid = job.programs.pid[program];
  return [job.tree.name(program), pid !== null && h("span", { class: "muted" }, ` ${pid}`)];
}

function sizes(sent, received) {
  return [sent > 0 && `${size(sent)} sent`, received > 0 && `${size(received)} received`].filter(Boolean).join(", ");
}

/** The programs above one, the job's root first; `isWhole` includes the program itself, for its acts. */
function aboveOf(job, program, isWhole) {
  const above = [];
  for (let each = program < 0 || isWhole ? program : job.programs.parent[program]; each >= 0; each = job.programs.parent[each]) above.unshift(each);
  if (!above.length) return null;
  const left = above.length - ABOVE_SHOWN;
  return h("div", {}, h("p", { class: "muted" }, isWhole ? "Done by, root first" : "Started by, root first"),
    h("ol", { class: "lines" }, left > 0 && h("li", { class: "muted" }, `… ${counted(left, "program")} above`),
      ...above.slice(-ABOVE_SHOWN).map((each) => h("li", {}, h("b", {}, ...programTitle(job, each).filter(Boolean)), " ", h("code", { class: "muted" }, job.tree.line(each))))));
}

function briefOf(job, acts) {
  const more = acts.length - BRIEF_SHOWN;
  return h("div", {}, h("p", { class: "muted" }, acts.length === 1 ? "What happened" : "Each of them"),
    h("ol", { class: "lines" }, ...acts.slice(0, BRIEF_SHOWN).map((act) => h("li", {}, briefLine(job, act))),
      more > 0 && h("li", { class: "muted" }, `… and ${number(more)} more`)));
}

function briefLine(job, act) {
  const { acts } = job;
  const [error, question, address] = [acts.error[act], acts.question[act], acts.address[act]].map(textAt);
  const times = acts.attempts[act];
  return [`after ${duration(acts.start[act])}: ${job.outcome(act)}`, error && ` (${error})`, question && `, asked for ${question}`,
    address && `, ${address}`, times > 1 && `, ${number(times)} attempts`, sizes(acts.sent[act], acts.received[act]) && `, ${sizes(acts.sent[act], acts.received[act])}`].filter(Boolean).join("");
}
