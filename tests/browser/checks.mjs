// What must hold for everything that a page shows.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fail, task } from "./page.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// Asks axe-core about accessibility: by all of its rules, or by those about colours alone, which are all that differs
// between light and dark.
export async function accessible(page, what, byAll) {
  if (!await page.evaluate(() => Boolean(window.axe))) await page.evaluate(axe);
  const options = { resultTypes: ["violations"] };
  if (!byAll) options.runOnly = ["color-contrast", "link-in-text-block"];
  const found = await page.evaluate((how) => window.axe.run(document, how), options);
  for (const violation of found.violations) {
    fail(`${what}: axe: ${violation.id}: ${violation.help}: ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + " " + node.failureSummary.replaceAll("\n", " ")).join(" | ")}`);
  }
}

// The page is no wider than its window, and nothing of importance is cut off.
export async function fits(page, what) {
  const over = await page.evaluate(() => document.scrollingElement.scrollWidth - window.innerWidth);
  if (over > 0) fail(`${what}: the page is ${over} px wider than the window`);
  const cut = await page.evaluate(() => [...document.querySelectorAll(".figures dd, h1")].filter((element) => element.scrollWidth > element.clientWidth + 1).map((element) => element.textContent));
  if (cut.length) fail(`${what}: cut off: ${cut.join(", ")}`);
}

// Returns what has the focus: whether it is a link of a view, and what is wrong with it. Runs in the page.
function focused() {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  window.reached.add(element);
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const [left, right] = [Math.max(box.left, 0), Math.min(box.right, innerWidth)];
  const [top, bottom] = [Math.max(box.top, 0), Math.min(box.bottom, innerHeight)];
  const name = element.outerHTML.slice(0, 120);
  if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return { fault: `the focus is not visible: ${name}` };
  if (right <= left || bottom <= top) return { fault: `the focus is outside the window: ${name}` };
  const at = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  if (at && !element.contains(at) && !at.contains(element)) return { fault: `${at.outerHTML.slice(0, 80)} covers the focus: ${name}` };
  return { view: element.matches("#views a") ? element.getAttribute("href").slice(1) : null, skips: element.className === "skip" };
}

// Presses Tab once; returns the view whose link has the focus, if it is one.
async function tab(page, what) {
  await page.keyboard.press("Tab");
  const now = await page.evaluate(focused);
  if (now && now.fault) fail(`${what}: ${now.fault}`);
  return now;
}

// The page is usable without a mouse: Tab and Enter lead to each view and through it, and the focus is always seen.
export async function keyboard(page, loaded) {
  const most = 300;
  await page.goto(task.url);
  await page.waitForSelector("nav a[aria-current]");
  await page.evaluate(() => { window.reached = new WeakSet(); });
  const first = await tab(page, "the first Tab");
  if (!first || !first.skips) fail("the first Tab does not reach the skip link");
  for (const key of task.views) {
    let presses = 0;
    for (let now = null; !now || now.view !== key; presses += 1) {
      if (presses > most) return fail(`Tab does not reach the link of ${key}`);
      now = await tab(page, "Tab");
    }
    await page.keyboard.press("Enter");
    await page.waitForFunction((wanted) => location.hash === "#" + wanted && document.activeElement.id === "main", key)
      .catch(() => fail(`Enter does not open ${key}`));
    await loaded(page, key);
    await page.evaluate(() => {
      const all = document.querySelectorAll("main :is(a[href], button, input, summary, [tabindex='0'])");
      window.expected = [...all].filter((element) => element.checkVisibility());
    });
    // Through the view, and on to what is below it.
    for (presses = 0; presses < most; presses += 1) {
      await tab(page, key);
      if (!await page.evaluate(() => document.getElementById("main").contains(document.activeElement))) break;
    }
    const missed = await page.evaluate(() => window.expected.filter((element) => element.isConnected && element.checkVisibility() && !window.reached.has(element)).map((element) => element.outerHTML.slice(0, 120)));
    if (missed.length) fail(`${key}: Tab does not reach ${missed.slice(0, 3).join(", ")}`);
  }
  if (task.charts) {
    await page.click('nav a[href="#overview"]');
    await page.focus(".chart");
    await page.keyboard.press("ArrowLeft");
    if (!await page.$(".chart .cross")) fail("an arrow key shows no point of the chart");
  }
}
