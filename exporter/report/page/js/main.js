/* The page: a choice of jobs, then the head and the views of the chosen one. */

let tabs = null;

/** Reads view and job from the address: `#tree`, `#tree/2`; jobs count from 1. */
function chosen() {
  const [view, job] = location.hash.slice(1).split("/");
  const place = Number.parseInt(job ?? "1", 10) - 1;
  return { view: VIEWS.some(({ id }) => id === view) ? view : VIEWS[0].id, place: jobs[place] ? place : 0 };
}

function showJob(place, view) {
  const job = jobs[place];
  const remember = (id) => history.replaceState(null, "", `#${id}${place ? `/${place + 1}` : ""}`);
  tabs = new Tabs(job, remember);
  const show = (filters) => {
    tabs.open("destinations").filter?.(filters);
    tabs.element.scrollIntoView({ block: "start" });
    tabs.tabs.get("destinations").focus({ preventScroll: true });
  };
  document.getElementById("job").replaceChildren(headOf(job, show), tabs.element);
  document.title = `${job.title} · egress report`;
  tabs.open(view);
}

/** Follows a link to a view of the job that is shown. */
function openView(event, view) {
  event.preventDefault();
  tabs.open(view);
  tabs.element.scrollIntoView({ block: "start" });
  tabs.tabs.get(view).focus({ preventScroll: true });
}

function jobTitle(job, place) {
  const news = distinct(job.remote.filter((row) => row.novel));
  const denied = distinct(job.remote.filter((row) => row.verdict === "deny"));
  const told = [counted(distinct(job.remote), "destination"), news && `${number(news)} new`, denied && `${number(denied)} denied`];
  const time = job.started ? `${job.started.slice(11, 16)} ` : "";
  return `${place + 1}. ${time}${job.title} (${told.filter(Boolean).join(", ")})`;
}

function bar(place) {
  const logo = s("svg", { viewBox: "0 0 32 32", width: "28", height: "28", "aria-hidden": "true" },
    s("rect", { width: "32", height: "32", rx: "8" }), s("path", { d: "M9 10v12h9M14 16h9m-4-4 4 4-4 4" }));
  const choice = jobs.length > 1 && select("Job", jobs.map((job, each) => [String(each), jobTitle(job, each)]), String(place), (value) => showJob(Number(value), chosen().view));
  return h("header", { class: "bar" }, h("div", { class: "bar-inside" }, h("span", { class: "brand" }, logo, h("span", {}, h("b", {}, "ci-egress"), h("span", { class: "muted" }, " egress report"))), choice));
}

function start() {
  if (!jobs.length) return; // the page without a script says that there are none
  const app = document.getElementById("app");
  const { view, place } = chosen();
  app.append(bar(place), h("main", { class: "page", id: "job" }), h("div", { id: "announced", class: "hidden", role: "status" }));
  showJob(place, view);
  document.getElementById("plain").remove();
  app.hidden = false;
  addEventListener("hashchange", () => (jobs[chosen().place] === tabs.job ? tabs.open(chosen().view) : location.reload()));
  addEventListener("beforeprint", () => VIEWS.forEach(({ id }) => tabs.made(id)));
}

start();
