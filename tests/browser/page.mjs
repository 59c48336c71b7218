// The browser, and the pages that it opens.
import net from "node:net";
import { chromium } from "playwright-core";

export const task = JSON.parse(process.argv[2]);
export const faults = [];
export const fail = (text) => { if (!faults.includes(text)) faults.push(text); };
// How many requests for event streams and for the history there were.
export const seen = { events: 0, histories: 0 };

// A line to the program that can be cut, and mended at the same address.
export class Line {
  sockets = new Set();
  async mend() {
    this.server = net.createServer((here) => {
      const there = net.connect(Number(new URL(task.url).port), "127.0.0.1");
      for (const [one, other] of [[here, there], [there, here]]) {
        this.sockets.add(one);
        one.on("error", () => other.destroy()).on("close", () => { this.sockets.delete(one); other.destroy(); }).pipe(other);
      }
    });
    await new Promise((done) => this.server.listen(this.port || 0, "127.0.0.1", done));
    this.port = this.server.address().port;
  }
  get url() { return `http://127.0.0.1:${this.port}/`; }
  async cut() {
    const closed = new Promise((done) => this.server.close(done));
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }
}

export const browser = await chromium.launch({
  executablePath: task.chromium,
  args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run", "--disable-gpu"],
});

// Opens the page at the size of a desktop. Everything that it logs as an error is a fault, and each request that leaves
// its origin.
export async function open(url = task.url) {
  const { origin } = new URL(url);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", reducedMotion: "reduce", timezoneId: "UTC" });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const to = request.url();
    if (!to.startsWith(origin + "/") && !to.startsWith("data:")) fail(`a request left the page's origin: ${to}`);
    if (to.endsWith("/api/events")) seen.events += 1;
    if (to.endsWith("/api/history")) seen.histories += 1;
  });
  page.on("pageerror", (error) => fail(error.stack));
  page.on("console", (message) => {
    // The browser logs each answer that is an error, and each program that ends.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) fail(message.text());
  });
  await page.goto(url);
  return { context, page };
}

// Returns what the band says.
export const said = (page) => page.evaluate(() => document.body.dataset.level + ": " + document.getElementById("headline").textContent
  + ". " + document.getElementById("detail").textContent);
