// The page: its state, its connection and its views.
const all = { overview, failures, storage, runs, verification, preflight, mirror, browse, setup };
const marks = { calm: "▶", good: "✓", warn: "!", act: "✕", lost: "?" };
let status = null, shown = null, lastContact = 0, refused = null, stream = null, isHidden = false;

function show() {
  if (!status) return;
  const isRun = status.kind === "run";
  const isLost = Date.now() - lastContact > 6000;
  const over = isRun && status.ended;
  const level = isLost && !over ? "lost" : status.verdict.level;
  const headline = isLost && !over ? "No contact" : status.verdict.headline;
  const since = "Below is the last that it said, at " + clock(status.time_ms, true) + ".";
  document.body.dataset.level = level;
  says(find("mark"), marks[level]);
  says(find("headline"), headline);
  says(find("detail"), isLost && !over ? "The program has ended, or it cannot be reached. " + since : status.verdict.detail);
  find("gone").hidden = !(isLost && over);
  says(find("gone"), "The program has ended. " + since);
  // Spoken by a screen reader, so only when it changes.
  says(find("spoken"), headline);
  const name = (isRun ? status.run.mirror : status.mirror).split(/[\\/]/).filter(Boolean).pop() || "mirror";
  document.title = marks[level] + " " + headline + " · " + name;
  icon(level);
  far(isRun, over);
  says(find("about"), (isRun ? "download-crates " : "serve-mirror ") + status.version + " · read only");
  links(isRun ? [["/metrics", "Metrics"], ["/api/status", "Status"], ["/debug/pprof/", "Profiles"]] : [["/metrics", "Metrics"], ["/api/status", "Status"], ["/healthz", "Health"]]);
  tabs();
  if (shown && shown.view.show) shown.view.show(status);
  if (shown) refresh(false);
}

function far(isRun, over) {
  // While a run plans, it has no total: a bar would be false.
  const known = isRun && !status.run.is_dry_run && status.plan_finished && status.planned > 0;
  find("far").hidden = find("track").hidden = !known;
  if (!known) return;
  const share = Math.floor(1000 * Math.min(status.processed, status.planned) / status.planned) / 10;
  says(find("share"), (share < 10 || share > 99 ? share.toFixed(share === 100 || share === 0 ? 0 : 1) : Math.floor(share)) + " %");
  says(find("left"), over ? "took " + duration(status.uptime_sec) : status.eta_sec === null ? "" : duration(status.eta_sec) + " left");
  const track = find("track"), label = count(status.processed) + " of " + count(status.planned) + " done";
  while (track.children.length < kinds.length) track.append(h("span"));
  kinds.forEach(([key], at) => {
    const part = track.children[at];
    part.className = "of-" + classOf(key);
    part.style.width = 100 * status[key] / Math.max(status.planned, 1) + "%";
  });
  track.setAttribute("role", "progressbar");
  track.setAttribute("aria-label", label);
  track.setAttribute("aria-valuenow", String(share));
}

function icon(level) {
  const colours = { calm: "%230a5fb5", good: "%2317692f", warn: "%23c98500", act: "%23b3201f", lost: "%23808080" };
  const text = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='8' fill='" + colours[level] + "'/></svg>";
  if (find("icon").getAttribute("href") !== text) find("icon").setAttribute("href", text);
}

function links(wanted) {
  const programs = find("programs");
  if (programs.children.length) return;
  put(programs, wanted.map(([path, name]) => h("a", { href: path }, name)));
}

function tabs() {
  const list = find("views");
  for (const key of status.views) {
    let item = list.querySelector("[data-key=" + key + "]");
    if (!item) {
      item = h("li", { "data-key": key }, h("a", { href: "#" + key }, h("span", null, all[key].name), h("span", { class: "badge", hidden: true })));
      list.append(item);
    }
    const link = item.firstChild, badge = link.lastChild, n = all[key].badge ? all[key].badge(status) : 0;
    badge.hidden = !n;
    says(badge, n ? count(n) : "");
    if (shown && shown.key === key) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!shown) choose(false);
}

function choose(byPerson) {
  if (!status) return;
  const asked = location.hash.slice(1).split("/")[0];
  const key = status.views.includes(asked) ? asked : status.views[0];
  if (shown && shown.key === key) return;
  shown = { key, view: all[key], fetched: 0, of: undefined };
  shown.view.build(find("main"));
  if (byPerson) find("main").focus();
  show();
}

// Asks for what a view shows when it changed, and at most once a second.
async function refresh(again) {
  const of = shown, view = of.view;
  if (!view.path || of.isBusy) return;
  const changed = JSON.stringify(view.changed(status)), age = Date.now() - of.fetched;
  const isDue = of.of !== changed || (view.every && age > view.every);
  if (!isDue || (age < 1000 && !again)) return;
  of.isBusy = true;
  try {
    const answer = await ask(view.path);
    of.of = changed;
    if (shown === of) view.fill(answer);
  } catch (error) {
    if (shown === of && of.of === undefined) put(find("main"), h("p", { class: "note" }, error.status ? "This cannot be shown: " + error.message : "No contact: this view was not loaded before."));
  }
  of.fetched = Date.now();
  of.isBusy = false;
}

function take(now) {
  const first = !status;
  status = now;
  lastContact = Date.now();
  refused = null;
  if (now.kind === "run") addSample(now);
  if (first) document.body.dataset.kind = now.kind;
  show();
}

async function reload() {
  try {
    const now = await ask("/api/status");
    if (now.kind === "run") takeHistory(await ask("/api/history"));
    take(now);
    return true;
  } catch (error) {
    if (error.status === 403 || error.status === 401) {
      refused = error.message;
      document.body.dataset.level = "warn";
      says(find("mark"), marks.warn);
      says(find("headline"), "Not under this name");
      says(find("detail"), refused);
      if (!shown) { shown = { key: "setup", view: setup }; setup.build(find("main")); setup.show({}); }
    } else if (!status) {
      says(find("headline"), "No contact");
      says(find("detail"), "The program does not answer.");
    }
    return false;
  }
}

function listen() {
  if (stream || isHidden || !status || status.kind !== "run") return;
  stream = new EventSource("/api/events");
  stream.addEventListener("status", (event) => take(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    // It is closed for good when the server has too many of them: the page asks every second instead.
    if (stream && stream.readyState === EventSource.CLOSED) stream = null;
  });
}

// Events come every second; where they do not, the page asks. A mirror between runs changes rarely.
async function tick() {
  const age = Date.now() - lastContact;
  const patience = status && status.kind === "mirror" ? 10000 : stream ? 3000 : 900;
  if (!isHidden && age > patience) {
    const isBack = await reload();
    if (isBack && !stream) listen();
  }
  if (status) show();
  setTimeout(tick, 1000);
}

document.addEventListener("visibilitychange", () => {
  isHidden = document.hidden;
  // A page that nobody sees takes no place among the streams.
  if (isHidden && stream) { stream.close(); stream = null; }
  if (!isHidden) reload().then(listen);
});
window.addEventListener("hashchange", () => choose(true));
window.addEventListener("resize", () => { if (shown && shown.view.resized) shown.view.resized(); });
reload().then((isThere) => { if (isThere) listen(); tick(); });
