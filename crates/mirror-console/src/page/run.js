// The views of a run.
const kinds = [
  ["downloaded", "Downloaded"], ["existing", "Held already"], ["verified_existing", "Verified"],
  ["deferred", "Held back by policy"], ["unavailable", "Not available upstream"], ["errors", "Failed"],
];
const classOf = (key) => key === "verified_existing" ? "verified" : key;
const recent = () => {
  const rows = history.rows, last = rows[rows.length - 1];
  if (rows.length < 2) return null;
  let at = rows.length - 2;
  while (at > 0 && last[0] - rows[at][0] < 5000) at -= 1;
  const seconds = (last[0] - rows[at][0]) / 1000;
  return { records: Math.max(0, last[1] - rows[at][1]) / seconds, bytes: Math.max(0, last[2] - rows[at][2]) / seconds };
};

const overview = {
  name: "Overview",
  build(main) {
    this.charts = [
      makeChart("Releases a second", "processed", "ink", rate, { isRate: true }),
      makeChart("Received a second", "received", "teal", bytes, { isRate: true, isBytes: true }),
      makeChart("Requests in flight", "inflight", "violet", (n) => count(Math.round(n)), { limit: "concurrency" }),
    ];
    this.numbers = h("div");
    this.results = h("div");
    this.run = h("div");
    this.end = h("div");
    this.ranges = rangeButtons(() => this.charts.forEach(drawChart));
    put(main, this.numbers, this.end, this.ranges.group, h("div", { class: "pair trio" }, this.charts.map((chart) => chart.box)),
      h("div", { class: "pair" }, this.results, this.run));
  },
  show(now) {
    const recently = now.ended ? null : recent();
    patch(this.end, now.ended ? box("How it ended", h("pre", { tabindex: "0" }, now.ended.summary || now.ended.error),
      h("p", { class: "note" }, "Ended " + moment(now.ended.ended_ms) + " with exit code " + now.ended.exit_code + ".")) : null);
    const missing = now.errors + now.unavailable;
    patch(this.numbers, figures(
      ["Done", count(now.processed), now.plan_finished ? "of " + count(now.planned) : "planning…"],
      ["Downloaded", count(now.downloaded), bytes(now.bytes)],
      ["Releases/s", recently ? rate(recently.records) : dash, "mean " + rate(now.rate)],
      ["Received/s", recently ? bytes(recently.bytes) : dash, bytes(now.received) + " in all"],
      [now.ended ? "Took" : "Left", now.ended ? duration(now.uptime_sec) : duration(roughly(now.eta_sec)), now.ended ? null : "running for " + duration(now.uptime_sec)],
      ["Failed", count(missing), now.unavailable ? count(now.unavailable) + " not available upstream" : null, missing ? "is-bad" : null],
      ["Retries", count(now.retries), null],
    ));
    this.ranges.paint();
    this.charts.forEach(drawChart);
    const rows = kinds.filter(([key]) => now[key] > 0).map(([key, name]) =>
      [h("span", null, h("span", { class: "dot of-" + classOf(key), "aria-hidden": "true" }), name), count(now[key])]);
    patch(this.results, box("Results",
      parts("kinds", kinds.map(([key]) => [classOf(key), now[key]]), "Results by kind, as in the table"),
      rows.length ? table("Results by kind", ["Result", "#Releases"], rows) : h("p", { class: "note" }, "Nothing is done yet.")));
    const of = now.run;
    patch(this.run, box("This run", facts(
      ["Mirror", h("span", { class: "mono" }, of.mirror || dash)], ["Index", h("span", { class: "mono" }, of.index || dash)],
      ["Started", moment(of.started_ms) + ", " + ago(of.started_ms, now.time_ms)], ["Phase", phases[now.phase] || now.phase],
      now.activity ? ["Busy with", now.activity.text + (now.activity.total ? ": " + count(now.activity.done) + " of " + count(now.activity.total) : "")] : null,
      ["On", (of.host ? of.host + ", " : "") + "process " + of.pid], ["Version", now.version],
      ["Command", h("code", null, of.command || dash)])));
  },
  resized() { this.charts.forEach(drawChart); },
};
const phases = {
  starting: "Starting", "update-index": "Updating the index", index: "Reading the index", download: "Downloading",
  verify: "Verifying", finishing: "Finishing", done: "Done",
};

function failureRows(all) {
  return table("Failures", ["Release", "Message", "When"], all.map((one) =>
    [h("span", { class: "mono" }, one.what), (one.is_known ? "Known gap. " : "") + one.message, one.time_ms ? moment(one.time_ms) : dash]));
}
const failures = {
  name: "Failures",
  path: "/api/failures",
  badge: (now) => (now.kind === "run" ? now.failures : now.failing) || 0,
  changed: (now) => now.kind === "run" ? now.failures : now.failing + "/" + now.last_run_ms,
  build(main) { put(main, h("p", { class: "note" }, "Loading…")); this.main = main; },
  fill(answer) {
    const groups = answer.groups.map((group) => h("section", { class: "box fail" },
      h("h2", null, h("b", null, count(group.count)), group.title,
        h("span", { class: "note" }, group.kind + (group.known ? ", " + count(group.known) + " of them known gaps" : ""))),
      h("p", { class: "todo" }, group.advice),
      failureRows(group.first),
      group.left_out > 0 ? h("p", { class: "note" }, many(group.left_out, "more is", "more are") + " left out here; the failure ledger in the catalogue has all.") : null,
      group.last.length ? h("details", null, h("summary", null, "The last " + group.last.length), failureRows(group.last)) : null));
    patch(this.main, groups.length ? groups : box("Nothing failed", h("p", null, "Every release that was tried is held.")));
  },
};

const verification = {
  name: "Verification",
  path: "/api/verification",
  badge: (now) => now.damage ? now.damage.lost || now.damage.found - now.damage.repaired : 0,
  changed: (now) => JSON.stringify([now.damage, now.verified_existing, now.ended]),
  build(main) { put(main, h("p", { class: "note" }, "Loading…")); this.main = main; },
  show(now) { this.now = now; },
  fill(answer) {
    const now = this.now;
    if (!now) return;
    const words = { found: ["set aside, being fetched again", "is-warn"], repaired: ["repaired", "is-good"], lost: ["could not be fetched again", "is-bad"] };
    const rows = answer.named.map((one) => [h("span", { class: "mono" }, one.release), one.place, tag(...words[one.state])]);
    patch(this.main,
      now.run.verifies ? null : box("This run does not verify", h("p", null, "It trusts what earlier runs verified, and checks every byte that it downloads. A run that verifies hashes each held release again.")),
      figures(
        ["Hashed and right", count(now.verified_existing), null], ["Damage found", count(answer.found), null, answer.found ? "is-warn" : null],
        ["Repaired", now.ended ? count(answer.repaired) : answer.found ? "at the end" : "0", null], ["Not repaired", count(answer.lost), null, answer.lost ? "is-bad" : null]),
      box("Damaged releases", rows.length ? table("Damaged releases", ["Release", "Where", "State"], rows)
        : h("p", null, now.run.verifies ? "None so far." : "None."),
        answer.left_out > 0 ? h("p", { class: "note" }, many(answer.left_out, "more is", "more are") + " left out here; the log names all.") : null));
  },
};

const preflight = {
  name: "Pre-flight",
  path: "/api/preflight",
  changed: (now) => JSON.stringify([now.ended, now.phase]),
  build(main) { put(main, h("p", { class: "note" }, "Loading…")); this.main = main; },
  fill(answer) {
    const disk = answer.disk, need = answer.need_bytes;
    const fits = !disk || need === null ? null : disk.free - need;
    const checks = [];
    if (answer.is_done && fits !== null) {
      checks.push([fits >= 0 ? tag("enough", "is-good") : tag("too little", "is-bad"), "Free space",
        bytes(disk.free) + " free, at most " + bytes(need) + " needed"]);
    }
    if (answer.is_done && disk && disk.inodes_free !== null) {
      const enough = disk.inodes_free >= answer.need_files;
      checks.push([enough ? tag("enough", "is-good") : tag("too few", "is-bad"), "Room for files", count(disk.inodes_free) + " free, at most " + count(answer.need_files) + " needed"]);
    }
    if (answer.is_done) {
      checks.push([answer.would_fail ? tag("look", "is-warn") : tag("fine", "is-good"), "Releases that could not be fetched",
        answer.would_fail ? count(answer.would_fail) + ", see the summary" : "none"]);
    }
    patch(this.main,
      figures(
        ["Selected", count(answer.selected), null], ["Held", count(answer.held), null], ["To fetch", count(answer.would_fetch), null],
        ["Bytes to fetch", answer.bytes === null ? (answer.is_done && !answer.would_fetch ? "none" : "unknown") : bytes(answer.bytes),
          answer.bytes_least === null || answer.bytes_least === answer.bytes_most ? null : bytes(answer.bytes_least) + " to " + bytes(answer.bytes_most)],
        ["Time", answer.time_sec === null ? "unknown" : "about " + duration(answer.time_sec), null]),
      checks.length ? box("Checks", table("Checks", ["Result", "What", "Figures"], checks)) : null,
      box(answer.is_dry_run ? "This is a dry run" : "This is no dry run", h("p", null, answer.is_dry_run
        ? "It looks at everything and writes nothing. The run itself is the same command without the flag."
        : "The figures above are those of the run that is going on; sizes are known once they arrive. A dry run estimates them before.")));
  },
};
