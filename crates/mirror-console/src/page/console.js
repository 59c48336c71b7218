// The page: its state, its connection and its views.
const all = { overview, failures, storage, runs, verification, preflight, mirror, browse, setup };
const marks = { calm: "▶", good: "✓", warn: "!", act: "✕", lost: "?" };
let status = null, shown = null, lastContact = 0, isHidden = false;
// Questions in a row that nothing answered; the answer that was an error; the time of the last question.
let misses = 0, trouble = null, lastAsked = 0, isAsking = false, pastAsked = 0;
// The event stream. While it is broken, the browser tries to open it again; when it is refused, the page does, later.
let stream = null, isBroken = false, listenFrom = 0;

// A status that is older than this, in milliseconds, is not what is so now: events come every second, or every five.
const isStale = () => misses > 1 || Date.now() - lastContact > (status.kind === "mirror" ? 15000 : 6000);
// How long nothing may be heard before the page asks.
function patience() {
  if (misses > 10) return 5000;
  if (!stream) return status && status.kind === "mirror" ? 5000 : 900;
  if (isBroken) return 900;
  return status.kind === "mirror" ? 8000 : 3000;
}

// Paints the band.
function band(level, headline, detail) {
  document.body.dataset.level = level;
  says(find("mark"), marks[level]);
  says(find("headline"), headline);
  says(find("detail"), detail);
  // Spoken by a screen reader, so only when it changes.
  says(find("spoken"), headline);
  const path = status ? (status.kind === "run" ? status.run.mirror : status.mirror) : "";
  document.title = marks[level] + " " + headline + " · " + (path.split(/[\\/]/).filter(Boolean).pop() || "mirror");
  icon(level);
}

function show() {
  if (!status) return;
  const isRun = status.kind === "run", isLost = isStale(), over = isRun && status.ended;
  const since = "Below is the last that it said, at " + clock(status.time_ms, true) + ".";
  if (isLost && !over) band("lost", "No contact", "The program has ended, or it cannot be reached. " + since);
  else if (trouble) band(trouble.status === 503 ? "warn" : "act", "The mirror cannot be shown", sentence(trouble.message) + " " + since);
  else band(status.verdict.level, status.verdict.headline, status.verdict.detail);
  document.body.classList.toggle("is-stale", isLost && !over);
  find("gone").hidden = !(isLost && over);
  says(find("gone"), "The program has ended. " + since);
  far(isRun, over, isLost);
  says(find("about"), (isRun ? "download-crates " : "serve-mirror ") + status.version + " · read only");
  links(isRun ? [["/metrics", "Metrics"], ["/api/status", "Status"], ["/debug/pprof/", "Profiles"]] : [["/metrics", "Metrics"], ["/api/status", "Status"], ["/healthz", "Health"]]);
  tabs();
  if (shown && shown.view.show) shown.view.show(status);
  if (shown && !isLost) refresh(false);
}

function far(isRun, over, isLost) {
  // While a run plans, it has no total: a bar would be false.
  const known = isRun && !status.run.is_dry_run && status.plan_finished && status.planned > 0;
  find("far").hidden = find("track").hidden = !known;
  if (!known) return;
  const share = Math.floor(1000 * Math.min(status.processed, status.planned) / status.planned) / 10;
  says(find("share"), (share < 10 || share > 99 ? share.toFixed(share === 100 || share === 0 ? 0 : 1) : Math.floor(share)) + " %");
  says(find("left"), over ? "took " + duration(status.uptime_sec) : status.eta_sec === null || isLost ? "" : duration(roughly(status.eta_sec)) + " left");
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
  if (shown && shown.key === key) {
    if (byPerson) find("main").focus({ preventScroll: true });
    return;
  }
  shown = { key, view: all[key], fetched: 0, of: undefined };
  shown.view.build(find("main"));
  if (byPerson) {
    // From the top: the band stays in sight.
    window.scrollTo(0, 0);
    find("main").focus({ preventScroll: true });
  }
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
    if (shown === of && of.of === undefined) put(find("main"), h("p", { class: "note" }, error.status ? sentence(error.message) : "No contact: this view was not loaded before."));
  }
  of.fetched = Date.now();
  of.isBusy = false;
}

function take(now) {
  const first = !status;
  status = now;
  lastContact = Date.now();
  misses = 0;
  trouble = null;
  if (now.kind === "run") past(now);
  if (first) document.body.dataset.kind = now.kind;
  show();
}

// Keeps the history complete: of the time in which the page heard nothing, the server has it.
async function past(now) {
  const last = history.rows[history.rows.length - 1], until = now.ended ? now.ended.ended_ms : now.time_ms;
  if (last && until - last[0] <= 5000) {
    if (!now.ended) addSample(now);
    return;
  }
  if (Date.now() - pastAsked < 5000) return;
  pastAsked = Date.now();
  try {
    takeHistory(await ask("/api/history"));
    show();
  } catch { pastAsked = Date.now() - 4000; }
}

async function reload() {
  lastAsked = Date.now();
  try {
    take(await ask("/api/status"));
    return true;
  } catch (error) {
    if (error.status === 403 || error.status === 401) {
      band("warn", "Not under this name", error.message);
      if (!shown) { shown = { key: "setup", view: setup }; setup.build(find("main")); setup.show({}); }
    } else if (error.status) {
      // It is there, and says what is wrong.
      lastContact = Date.now();
      misses = 0;
      trouble = error;
      if (!status) band(error.status === 503 ? "warn" : "act", "The mirror cannot be shown", sentence(error.message));
    } else {
      misses += 1;
      if (!status) band("lost", "No contact", "The program does not answer.");
    }
    return false;
  }
}

function listen() {
  if (stream || isHidden || !status || Date.now() < listenFrom) return;
  const own = new EventSource("/api/events");
  stream = own;
  isBroken = false;
  own.addEventListener("status", (event) => { isBroken = false; take(JSON.parse(event.data)); });
  own.addEventListener("error", () => {
    if (stream !== own) return;
    isBroken = true;
    if (own.readyState !== EventSource.CLOSED) return;
    // It is closed for good when the server has too many of them: the page asks instead.
    stream = null;
    listenFrom = Date.now() + 30000;
  });
}

// Events say what is new; where none come, the page asks.
function tick() {
  if (!isHidden && !isAsking && Date.now() - Math.max(lastContact, lastAsked) > patience()) {
    isAsking = true;
    reload().then((isBack) => { isAsking = false; if (isBack) listen(); });
  }
  // A page that nobody sees hears nothing; that is no sign that its server is gone.
  if (!isHidden) show();
  setTimeout(tick, 1000);
}

document.addEventListener("visibilitychange", () => {
  isHidden = document.hidden;
  // A page that nobody sees takes no place among the streams.
  if (isHidden && stream) { stream.close(); stream = null; }
  if (isHidden) return;
  // What it did not hear while nobody saw it does not count.
  lastContact = Date.now();
  reload().then((isBack) => { if (isBack) listen(); });
});
window.addEventListener("hashchange", () => choose(true));
window.addEventListener("resize", () => { if (shown && shown.view.resized) shown.view.resized(); });
reload().then((isThere) => { if (isThere) listen(); tick(); });
