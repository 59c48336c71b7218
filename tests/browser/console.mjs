// Drives the console of a running program in headless Chromium, checks it, and takes pictures of it. Called by
// `cargo xtask browser` with one argument, a JSON object:
//   name       of the situation, part of the names of pictures
//   url        of the page
//   chromium   path of the browser
//   shots      directory for pictures, or null
//   process    id of the program that shows the page
//   level      the level that the page must reach: calm, good, warn, act
//   headline   a regular expression that the headline must match
//   views      the views to look at, by their keys
//   texts      what a view must say, by its key
//   charts     true if the overview must have charts with lines
//   live       true for a run that goes on: reloads, lost and hanging connections are tried
//   then       what the page must say after the line "open", at which the caller changes something
//   by_events  true if `then` must come without another question
import path from "node:path";
import { accessible, fits, keyboard } from "./checks.mjs";
import { Line, browser, fail, faults, open, said, seen, task } from "./page.mjs";

// Each view is looked at in these sizes, in light and dark.
const sizes = { phone: [390, 844], desktop: [1280, 800], wall: [2560, 1440] };
let checks = 0;

// Looks at what a page shows now, in every size and scheme.
async function look(page, key) {
  for (const [size, [width, height]] of Object.entries(sizes)) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of ["light", "dark"]) {
      const what = `${key} ${size} ${colorScheme}`;
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      // A chart is drawn again when the window has another size.
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await accessible(page, what, colorScheme === "light");
      await fits(page, what);
      checks += 1;
      if (task.shots) await page.screenshot({ path: path.join(task.shots, `${task.name}-${key}-${size}-${colorScheme}.png`) });
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
}

async function reaches(page) {
  await page.waitForFunction(([level, pattern]) => new RegExp("^" + level + "$").test(document.body.dataset.level)
    && new RegExp(pattern).test(document.getElementById("headline").textContent), [task.level, task.headline])
    .catch(async () => fail(`expected ${task.level}: ${task.headline}, found ${await said(page)}`));
}

// Waits until a view shows what it is about.
async function loaded(page, key) {
  await page.waitForFunction((wanted) => {
    const current = document.querySelector("nav a[aria-current]");
    const text = document.getElementById("main").textContent;
    return current && current.getAttribute("href") === "#" + wanted && text && text !== "Loading…";
  }, key).catch(() => fail(`${key}: the view did not load`));
  const pattern = (task.texts || {})[key];
  if (pattern) {
    await page.waitForFunction((text) => new RegExp(text).test(document.getElementById("main").textContent), pattern)
      .catch(async () => fail(`${key}: no ${pattern} in: ${(await page.textContent("main")).slice(0, 400)}`));
  }
  if (key === "overview" && task.charts) {
    await page.waitForFunction(() => [...document.querySelectorAll(".chart .line")].filter((line) => line.getAttribute("d").includes("L")).length === 3)
      .catch(() => fail(`${key}: the charts have no lines`));
  }
  const text = await page.textContent("main");
  for (const bad of ["undefined", "NaN", "[object", "cannot be shown", "No contact"]) {
    if (text.includes(bad)) fail(`${key}: the view says ${bad}: ${text.slice(0, 300)}`);
  }
}

async function openCrate(page) {
  await page.fill("#search", task.crate);
  await page.click(`.found button:text-is("${task.crate}")`);
  await page.waitForFunction((name) => [...document.querySelectorAll("main h2")].some((heading) => heading.textContent === name), task.crate)
    .catch(() => fail("browse: the crate did not open"));
  const text = await page.textContent("main");
  if (task.crate_text && !new RegExp(task.crate_text).test(text)) fail(`browse: no ${task.crate_text} in ${text.slice(0, 600)}`);
}

const done = (page) => page.evaluate(() => Number(document.querySelector(".figures dd").firstChild.data.replaceAll(",", "")));
// Waits until the page has news of the run.
async function goesOn(page, what) {
  const before = await done(page);
  await page.waitForFunction((n) => Number(document.querySelector(".figures dd").firstChild.data.replaceAll(",", "")) > n, before)
    .catch(async () => fail(`${what}: the page does not go on after ${before}: ${await said(page)}`));
}
// Returns what the first chart shows: its beginning, and the number of its points.
const charted = (page) => page.evaluate(() => ({
  from: document.querySelector(".chart").getAttribute("aria-label").match(/ from (\S+) /)[1],
  points: document.querySelector(".chart .line").getAttribute("d").split("L").length,
}));

// A reload loses nothing: the server has the history.
async function reloads(page) {
  await goesOn(page, "before a reload");
  const [before, doneBefore] = [await charted(page), await done(page)];
  await page.reload();
  await page.waitForSelector(".chart .line");
  const [after, doneAfter] = [await charted(page), await done(page)];
  if (after.from !== before.from || after.points < before.points || doneAfter < doneBefore) {
    fail(`a reload loses history: ${JSON.stringify([before, doneBefore])} became ${JSON.stringify([after, doneAfter])}`);
  }
}

// A page that hears nothing says so, keeps what it had, and goes on by itself once the program can be reached again.
async function recovers(page, what, breakIt, mendIt) {
  const before = await done(page), streams = seen.events, histories = seen.histories;
  await breakIt();
  await page.waitForFunction(() => document.body.dataset.level === "lost"
    && document.getElementById("headline").textContent === "No contact"
    && /Below is the last that it said, at \d\d:\d\d:\d\d/.test(document.getElementById("detail").textContent))
    .catch(async () => fail(`${what}: the page does not say that it is stale: ${await said(page)}`));
  if (await done(page) < before) fail(`${what}: the page forgot what it had`);
  if (task.shots) await page.screenshot({ path: path.join(task.shots, `${task.name}-stale-desktop-light.png`) });
  await mendIt();
  await page.waitForFunction(() => document.body.dataset.level !== "lost", null, { timeout: 30_000 })
    .catch(async () => fail(`${what}: the page does not recover: ${await said(page)}`));
  await goesOn(page, what);
  return { streams: seen.events - streams, histories: seen.histories - histories };
}

async function live() {
  const line = new Line();
  await line.mend();
  const { context, page } = await open(line.url);
  await page.waitForSelector(".chart .line");
  if (!seen.events) fail("the page opened no event stream");
  await reloads(page);
  const lost = await recovers(page, "a lost connection", () => line.cut(), () => line.mend());
  if (!lost.streams) fail("a lost connection: the page opened no other event stream");
  const hung = await recovers(page, "a program that hangs", () => process.kill(task.process, "SIGSTOP"), () => process.kill(task.process, "SIGCONT"));
  if (!hung.histories) fail("a program that hangs: the page did not ask for what happened meanwhile");
  // Without event streams, the page asks.
  await context.route("**/api/events", (route) => route.abort());
  await page.reload();
  await page.waitForSelector(".figures dd");
  await goesOn(page, "without events");
  await context.close();
  await line.cut();
}

// Has the caller change something while the page is open.
async function changes() {
  const { context, page } = await open();
  await reaches(page);
  await page.waitForSelector(".figures dd");
  if (task.by_events) await context.route("**/api/status", (route) => route.abort());
  process.stdout.write("open\n");
  await page.waitForFunction((text) => new RegExp(text).test(document.body.innerText), task.then, { timeout: 60_000 })
    .catch(async () => fail(`afterwards the page says: ${(await page.innerText("body")).slice(0, 400)}`));
  await look(page, "then");
  await context.close();
}

const { context, page } = await open();
await reaches(page);
if (task.shots && task.charts) {
  // A picture of a run shows a run that has gone on for some time.
  await page.waitForFunction(() => !document.getElementById("far").hidden
    && document.querySelector(".chart .line").getAttribute("d").split("L").length > 25, null, { timeout: 90_000 });
}
for (const key of task.views) {
  await page.click(`nav a[href="#${key}"]`);
  await loaded(page, key);
  if (key === "browse") await openCrate(page);
  await look(page, key);
}
await keyboard(page, loaded);
await context.close();
if (task.live) await live();
if (task.then) await changes();
await browser.close();
for (const fault of faults) console.error(`${task.name}: ${fault}`);
console.log(`${checks} looks`);
process.exit(faults.length ? 1 : 0);
