// Drives the console of a running program in headless Chromium, checks it, and takes pictures of it. Called by
// `cargo xtask browser` with one argument, a JSON object:
//   name       of the situation, part of the names of pictures
//   url        of the page
//   chromium   path of the browser
//   out        directory for pictures
//   level      the level that the page must reach: calm, good, warn, act
//   headline   a regular expression that the headline must match
//   views      the views to look at, by their keys
//   last_words for a program that ends while the page is open: what the page must say then
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { chromium } from "playwright-core";

const task = JSON.parse(process.argv[2]);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const origin = new URL(task.url).origin;
const faults = [];
const fail = (text) => faults.push(text);

// How many views are looked at, and of how many axe is asked.
const looks = [
  { look: "desktop-light", width: 1280, height: 800, colorScheme: "light", axe: "all" },
  { look: "desktop-dark", width: 1280, height: 800, colorScheme: "dark", axe: "first", views: 3 },
  { look: "phone-light", width: 390, height: 844, colorScheme: "light", axe: "first" },
  { look: "phone-dark", width: 390, height: 844, colorScheme: "dark", views: 1 },
  { look: "wall-dark", width: 2560, height: 1440, colorScheme: "dark", views: 1 },
];

const browser = await chromium.launch({
  executablePath: task.chromium,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-gpu"],
});
let streams = 0;

async function open(look) {
  const context = await browser.newContext({
    viewport: { width: look.width, height: look.height }, colorScheme: look.colorScheme, reducedMotion: "reduce", timezoneId: "UTC",
  });
  context.setDefaultTimeout(12_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const to = request.url();
    if (!to.startsWith(origin + "/") && !to.startsWith("data:")) fail(`${look.look}: a request left the page's origin: ${to}`);
    if (to.endsWith("/api/events")) streams += 1;
  });
  page.on("pageerror", (error) => fail(`${look.look}: ${error.stack}`));
  page.on("console", (message) => {
    // The browser logs each answer that is an error, and each program that ends.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) fail(`${look.look}: ${message.text()}`);
  });
  await page.goto(task.url);
  return { context, page };
}

async function reaches(page, level, headline, look) {
  try {
    await page.waitForFunction(([wanted, pattern]) => new RegExp("^" + wanted + "$").test(document.body.dataset.level)
      && new RegExp(pattern).test(document.getElementById("headline").textContent), [level, headline]);
  } catch {
    const is = await page.evaluate(() => document.body.dataset.level + ": " + document.getElementById("headline").textContent + ". " + document.getElementById("detail").textContent);
    fail(`${look}: expected ${level}: ${headline}, found ${is}`);
  }
}

async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  for (const violation of found.violations) {
    fail(`${what}: axe: ${violation.id}: ${violation.help}: ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " " + node.failureSummary.replaceAll("\n", " ")).join(" | ")}`);
  }
  return found.passes.length;
}

async function fits(page, what) {
  const over = await page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
  if (over > 0) fail(`${what}: the page is ${over} px wider than the window`);
  const overlap = await page.evaluate(() => [...document.querySelectorAll(".figures dd, h1")].filter((element) => element.scrollWidth > element.clientWidth + 1).map((element) => element.textContent));
  if (overlap.length) fail(`${what}: cut off: ${overlap.join(", ")}`);
}

async function loaded(page, key, what) {
  await page.waitForFunction((wanted) => {
    const current = document.querySelector("nav a[aria-current]");
    const text = document.getElementById("main").textContent;
    return current && current.getAttribute("href") === "#" + wanted && text && text !== "Loading…";
  }, key).catch(() => fail(`${what}: the view did not load`));
  const text = await page.textContent("main");
  for (const bad of ["undefined", "NaN", "[object", "cannot be shown", "No contact"]) {
    if (text.includes(bad)) fail(`${what}: the view says ${bad}: ${text.slice(0, 300)}`);
  }
  return text;
}

// The text that a view must contain, in a situation.
const wanted = task.texts || {};
let checks = 0;

for (const look of looks) {
  const { context, page } = await open(look);
  await reaches(page, task.level, task.headline, look.look);
  for (const key of task.views.slice(0, look.views)) {
    const what = `${look.look}/${key}`;
    await page.click(`nav a[href="#${key}"]`);
    await loaded(page, key, what);
    if (wanted[key]) {
      await page.waitForFunction((pattern) => new RegExp(pattern).test(document.getElementById("main").textContent), wanted[key])
        .catch(async () => fail(`${what}: no ${wanted[key]} in: ${(await page.textContent("main")).slice(0, 400)}`));
    }
    if (key === "overview" && task.charts) {
      await page.waitForFunction(() => [...document.querySelectorAll(".chart .line")].filter((line) => line.getAttribute("d").includes("L")).length === 3)
        .catch(() => fail(`${what}: the charts have no lines`));
    }
    if (key === "browse") await browse(page, what);
    if (look.axe === "all" || (look.axe && key === task.views[0])) checks += await accessible(page, what) && 1;
    await fits(page, what);
    await page.screenshot({ path: path.join(task.out, `${task.name}-${key}-${look.look}.png`) });
  }
  if (look.look === "desktop-light") await keyboard(page);
  await context.close();
}

async function browse(page, what) {
  await page.fill("#search", task.crate);
  await page.click(`.found button:text-is("${task.crate}")`);
  await page.waitForFunction((name) => [...document.querySelectorAll("main h2")].some((heading) => heading.textContent === name), task.crate)
    .catch(() => fail(`${what}: the crate did not open`));
  const text = await page.textContent("main");
  if (task.crate_text && !new RegExp(task.crate_text).test(text)) fail(`${what}: no ${task.crate_text} in ${text.slice(0, 600)}`);
}

// The page is usable without a mouse: the skip link comes first, links follow, a chart can be read with arrows.
async function keyboard(page) {
  await page.goto(task.url);
  await page.waitForSelector("nav a[aria-current]");
  await page.keyboard.press("Tab");
  if (await page.evaluate(() => document.activeElement.className) !== "skip") fail("the first Tab does not reach the skip link");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const second = await page.getAttribute("nav li:nth-child(2) a", "href").then((href) => href.slice(1));
  if (second) await page.waitForFunction((key) => location.hash === "#" + key && document.activeElement.id === "main", second)
    .catch(() => fail("Tab and Enter do not open the second view"));
  if (task.charts) {
    await page.click('nav a[href="#overview"]');
    await page.focus(".chart");
    await page.keyboard.press("ArrowLeft");
    if (!await page.$(".chart .cross")) fail("an arrow key shows no point of the chart");
  }
}

if (task.live) {
  // A reload loses nothing: the server has the history.
  const { context, page } = await open(looks[0]);
  await page.waitForFunction(() => document.querySelectorAll(".chart .line").length > 0);
  if (!streams) fail("the page opened no event stream");
  // Without event streams, the page asks.
  await context.route("**/api/events", (route) => route.abort());
  await page.reload();
  await page.waitForSelector(".figures dd");
  const before = await page.textContent(".figures dd");
  await page.waitForFunction((text) => document.querySelector(".figures dd").textContent !== text, before).catch(() => fail("without events, the page does not go on"));
  await context.close();
}

if (task.last_words) {
  const { context, page } = await open(looks[0]);
  await page.waitForSelector(".figures dd");
  // Tells the caller that the program may end now.
  process.stdout.write("open\n");
  await page.waitForFunction((text) => new RegExp(text).test(document.body.innerText), task.last_words, { timeout: 60_000 })
    .catch(async () => fail(`at the end the page says: ${(await page.innerText("body")).slice(0, 400)}`));
  await page.screenshot({ path: path.join(task.out, `${task.name}-ended-desktop-light.png`) });
  await context.close();
}

await browser.close();
for (const fault of faults) console.error(`${task.name}: ${fault}`);
console.log(`${task.name}: ${checks} pages without violations`);
process.exit(faults.length ? 1 : 0);
