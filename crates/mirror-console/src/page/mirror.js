// The views of a mirror: beside a run, and between runs.

// The colour of the free space, by the limits of the band (verdict.rs).
function room(disk) {
  if (disk.free < 1073741824) return "is-bad";
  return disk.free < 21474836480 && disk.free < disk.total / 20 ? "is-warn" : null;
}
// A fragment may be typed by hand, with a % that escapes nothing.
function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

const storage = {
  name: "Storage",
  path: "/api/storage",
  every: 15000,
  changed: (now) => (now.kind === "run" ? now.ended : now.generation),
  build(main) { put(main, h("p", { class: "note" }, "Loading…")); this.main = main; },
  fill(answer) {
    const disk = answer.disk, own = answer.bytes;
    const used = disk ? disk.total - disk.free : 0, other = Math.max(0, used - own);
    const states = { sealed: ["sealed", "is-good"], partial: ["open, the next run goes on with it", "is-calm"], missing: ["missing", "is-bad"], unlisted: ["nothing in it is held", "is-off"] };
    const rows = answer.bundles.map((one) => [h("span", { class: "mono" }, one.name), tag(...(states[one.state] || [one.state, ""])), count(one.releases), one.bytes === null ? dash : bytes(one.bytes)]);
    patch(this.main,
      figures(
        disk ? ["Disk free", bytes(disk.free), "of " + bytes(disk.total), room(disk)] : ["Disk free", "unknown", null],
        disk && disk.inodes_free !== null ? ["Files that fit", count(disk.inodes_free), "inodes free"] : null,
        ["Releases held", count(answer.releases), bytes(answer.bytes)],
        ["Loose files", count(answer.loose), null], ["In bundles", count(answer.bundled), many(answer.bundles_all, "bundle", "bundles")],
        answer.elsewhere ? ["In other stores", count(answer.elsewhere), null] : null,
        answer.quarantined ? ["In quarantine", count(answer.quarantined), "damaged copies", "is-warn"] : null),
      disk ? box("The disk of the mirror",
        h("div", { class: "gauge", role: "img", "aria-label": bytes(own) + " of releases, " + bytes(other) + " of anything else, " + bytes(disk.free) + " free" },
          h("span", { class: "of-used", width: 100 * own / disk.total + "%" }), h("span", { class: "of-other", width: 100 * other / disk.total + "%" })),
        h("p", { class: "note" }, h("span", { class: "dot of-used", "aria-hidden": "true" }), bytes(own) + " of releases · ", h("span", { class: "dot of-other", "aria-hidden": "true" }), bytes(other) + " of anything else · " + bytes(disk.free) + " free")) : null,
      box("Bundles", rows.length ? table("Bundles", ["Bundle", "State", "#Releases", "#Size"], rows) : h("p", null, "There are none: releases are loose files."),
        answer.bundles_left_out > 0 ? h("p", { class: "note" }, many(answer.bundles_left_out, "older bundle is", "older bundles are") + " left out here.") : null),
      box("Where it is", facts(["Mirror", h("span", { class: "mono" }, answer.root)], ["Layout", answer.layout], ["Bundles", h("span", { class: "mono" }, answer.bundles_dir)],
        ["Catalogue", bytes(answer.catalogue_bytes)], ["Index cache", bytes(answer.index_cache_bytes)], answer.manifest_bytes === null ? null : ["Manifest", bytes(answer.manifest_bytes)])));
  },
};

const runs = {
  name: "Runs",
  path: "/api/runs",
  every: 60000,
  changed: (now) => (now.kind === "run" ? Boolean(now.ended) : now.generation),
  build(main) { put(main, h("p", { class: "note" }, "Loading…")); this.main = main; },
  fill(answer) {
    const states = { complete: ["complete", "is-good"], missing: ["some missing", "is-warn"], stopped: ["stopped", "is-warn"], damage: ["damage left", "is-bad"], "given-up": ["given up", "is-bad"], running: ["running", "is-calm"], unfinished: ["did not end", "is-bad"], recorded: ["recorded", "is-off"] };
    const rows = answer.runs.map((one) => {
      const seconds = one.ended_ms === null ? null : (one.ended_ms - one.began_ms) / 1000;
      return [moment(one.began_ms), tag(...(states[one.state] || [one.state, ""])), duration(seconds), count(one.downloaded), bytes(one.bytes),
        one.failed ? h("span", { class: "is-bad" }, count(one.failed)) : "0", one.verified ? count(one.verified) : dash, one.snapshot ? String(one.snapshot) : dash];
    });
    const taken = answer.snapshots.map((one) => [String(one.serial), moment(one.created_ms), one.expires_ms < Date.now() ? h("span", { class: "is-bad" }, day(one.expires_ms)) : day(one.expires_ms),
      count(one.crates), count(one.releases), bytes(one.bytes)]);
    patch(this.main,
      box("Runs", rows.length ? table("Runs, newest first", ["Began", "State", "Took", "#Downloaded", "#Bytes", "#Failed", "#Verified", "#Snapshot"], rows) : h("p", null, "No run is recorded yet."),
        answer.is_cut ? h("p", { class: "note" }, "Older runs are left out here; the manifest has all that they did.") : null),
      taken.length ? box("Snapshots", table("Snapshots, newest first", ["Serial", "Taken", "Good until", "#Crates", "#Releases", "#Size"], taken)) : null);
  },
};

const mirror = {
  name: "Mirror",
  build(main) { this.numbers = h("div"); this.state = h("div"); put(main, this.numbers, this.state); },
  show(now) {
    const back = now.held_back.reduce((sum, one) => sum + one.releases, 0);
    patch(this.numbers, figures(["Crates", count(now.held.crates), null], ["Releases offered", count(now.held.releases), bytes(now.held.bytes)],
      ["Last run", now.last_run_ms ? ago(now.last_run_ms, now.time_ms) : "none yet", now.last_run_ms ? moment(now.last_run_ms) : null],
      ["Not fetched", count(now.failing), null, now.failing ? "is-warn" : null], ["Held back by policy", count(back), null]));
    patch(this.state, h("div", { class: "pair" },
      box("How fresh it is", facts(["Last run", now.last_run_ms ? moment(now.last_run_ms) : "none has come to its end yet"],
        now.snapshot ? ["Snapshot", now.snapshot.sentence] : ["Snapshot", "this mirror takes none"], ["Version", now.version], ["Mirror", h("span", { class: "mono" }, now.mirror)])),
      box("Held back by policy", now.held_back.length ? table("Held back, by rule", ["Rule", "#Releases"], now.held_back.map((one) => [one.rule, count(one.releases)]))
        : h("p", null, "Nothing is held back."), now.next_due ? h("p", { class: "note" }, "Next due: " + now.next_due + ".") : null),
      now.unlisted.count ? box("Crates that Cargo cannot find", h("p", null, "Of " + many(now.unlisted.count, "crate", "crates") + " the mirror has no index line: " + now.unlisted.first.join(", ")
        + (now.unlisted.count > now.unlisted.first.length ? ", …" : "") + ". A run with the index brings them.")) : null));
  },
};

const setup = {
  name: "Use it",
  build(main) {
    this.lines = h("pre", { tabindex: "0" });
    this.search = h("code");
    put(main, box("Build from this mirror", h("p", null, "Put this into ", h("code", null, "~/.cargo/config.toml"), ", or into ", h("code", null, ".cargo/config.toml"), " of a project:"), this.lines,
      h("p", null, "That is all: cargo add and every build use the mirror. Manifests and lockfiles stay as they are without it."),
      h("p", null, "Only queries need the address: ", this.search)));
  },
  show(now) {
    const base = now.base || location.origin;
    says(this.lines, "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+" + base + "/index/\"\n");
    says(this.search, "cargo search --index sparse+" + base + "/index/ NAME");
  },
};

const browse = {
  name: "Browse",
  build(main) {
    this.input = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", oninput: () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.look(), 200); } });
    this.names = h("div");
    this.crate = h("div");
    put(main, h("section", { class: "box" }, h("label", { for: "search" }, "Search the crates of this mirror"), this.input, this.names), this.crate);
    this.look();
    const asked = location.hash.split("/")[1];
    if (asked) this.open(unescaped(asked));
  },
  async look() {
    const text = this.input.value.trim();
    try {
      const found = await ask("/api/browse?q=" + encodeURIComponent(text));
      if (text !== this.input.value.trim()) return;
      put(this.names, h("p", { class: "note", role: "status" }, found.total ? many(found.total, "crate", "crates") + (found.total > found.names.length ? ", the first " + found.names.length + " are:" : ":") : "No crate of which something is offered has that in its name."),
        !found.total && text ? h("p", null, h("button", { type: "button", onclick: () => this.open(text) }, "What is known of " + text)) : null,
        h("ul", { class: "found" }, found.names.map((name) => h("li", null, h("button", { type: "button", onclick: () => this.open(name) }, name)))));
    } catch (error) { put(this.names, h("p", { class: "is-bad", role: "alert" }, "The search failed: " + error.message)); }
  },
  async open(name) {
    try {
      const of = await ask("/api/crate?name=" + encodeURIComponent(name));
      window.history.replaceState(null, "", "#browse/" + encodeURIComponent(name));
      const states = { offered: "is-good", yanked: "is-warn" };
      const rows = of.versions.map((one) => [h("span", { class: "mono" }, one.version), tag(one.state, states[one.state] || "is-off"), one.why, one.bytes === null ? dash : bytes(one.bytes), one.place || dash]);
      const heading = h("h2", { tabindex: "-1" }, of.name);
      put(this.crate, h("section", { class: "box" }, heading, rows.length
        ? table("Versions of " + of.name, ["Version", "State", "Why", "#Size", "Where"], rows) : h("p", null, "This mirror knows nothing of that crate."),
        of.left_out > 0 ? h("p", { class: "note" }, many(of.left_out, "older version is", "older versions are") + " left out here.") : null));
      heading.focus({ preventScroll: false });
    } catch (error) { put(this.crate, h("p", { class: "is-bad", role: "alert" }, "The crate could not be read: " + error.message)); }
  },
};
