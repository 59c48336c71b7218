// Charts of what changes with time. The samples have totals, so a rate is a mean, however far apart samples are.
const history = { rows: [], columns: {} };
const ranges = [["5 min", 300], ["1 h", 3600], ["12 h", 43200], ["all", null]];
let range = null;

function takeHistory(answer) {
  history.columns = Object.fromEntries(answer.columns.map((name, at) => [name, at]));
  history.rows = answer.rows;
}
function addSample(now) {
  const last = history.rows[history.rows.length - 1];
  if (!history.columns.time_ms && history.columns.time_ms !== 0) return;
  if (last && now.time_ms < last[0] + 500) return;
  history.rows.push([now.time_ms, now.processed, now.received, now.errors + now.unavailable, now.retries, now.inflight, now.concurrency]);
  if (history.rows.length > 4000) history.rows.splice(1, 1000);
}

function span() {
  const rows = history.rows;
  if (rows.length < 2) return null;
  const end = rows[rows.length - 1][0];
  const whole = (end - rows[0][0]) / 1000;
  const wanted = range === null ? Math.min(whole, 3600) : ranges[range][1] || whole;
  return { from: Math.max(rows[0][0], end - wanted * 1000), end, whole };
}

// Returns the value of a column at a moment, between two samples on the line between them.
function valueAt(column, time, hint) {
  const rows = history.rows;
  let at = hint.at;
  while (at < rows.length - 2 && rows[at + 1][0] < time) at += 1;
  hint.at = at;
  const [a, b] = [rows[at], rows[at + 1]];
  if (b[0] === a[0]) return a[column];
  const share = Math.min(1, Math.max(0, (time - a[0]) / (b[0] - a[0])));
  return a[column] + share * (b[column] - a[column]);
}
function series(name, isRate, window) {
  const column = history.columns[name], steps = 120, hint = { at: 0 };
  const length = (window.end - window.from) / steps;
  // Less than a second apart, two points would share a sample.
  const pieces = Math.max(2, Math.min(steps, Math.floor((window.end - window.from) / 1000)));
  const step = Math.max(length, (window.end - window.from) / pieces);
  // A run commits about once a second: over less than some seconds, a rate would be all or nothing.
  const mean = Math.min(Math.max(step, 5000), window.end - window.from), earlier = { at: 0 };
  const points = [];
  for (let piece = 1; piece <= pieces; piece += 1) {
    const time = window.from + piece * step, value = valueAt(column, time, hint);
    const begin = Math.max(history.rows[0][0], time - mean);
    const before = isRate ? valueAt(column, begin, earlier) : 0;
    points.push([time, isRate ? Math.max(0, (value - before) * 1000 / (time - begin)) : value]);
  }
  return points;
}

function ticks(most, isBytes) {
  const base = isBytes ? 1024 : 10;
  let unit = Math.pow(base, Math.floor(Math.log(Math.max(most, 1)) / Math.log(base)));
  const steps = isBytes ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : [0.2, 0.5, 1, 2, 5, 10];
  const step = unit * (steps.find((n) => most / (unit * n) <= 4) || 1000);
  const all = [];
  for (let at = 0; at <= 4 && (all.length < 2 || all[all.length - 1] < most); at += 1) all.push(at * step);
  return all;
}
function timeTicks(window, most) {
  const steps = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800].map((s) => s * 1000);
  const step = steps.find((s) => (window.end - window.from) / s <= most) || steps[steps.length - 1];
  const shift = new Date(window.end).getTimezoneOffset() * 60000;
  const all = [];
  for (let at = Math.ceil((window.from - shift) / step) * step + shift; at <= window.end; at += step) all.push(at);
  return { all, seconds: step < 60000, days: step >= 86400000 };
}

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Draws a chart and says what it shows. `limit` is a second, dashed line.
function drawChart(chart) {
  const window = span();
  const { canvas, format, name, isRate, isBytes, limit } = chart;
  if (!window || !canvas.clientWidth) return;
  const em = parseFloat(getComputedStyle(canvas).fontSize) * 0.8;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const points = series(name, isRate, window);
  const bound = limit ? series(limit, false, window) : [];
  const most = Math.max(1, ...points.map((point) => point[1]), ...bound.map((point) => point[1]));
  const levels = ticks(most, isBytes), top = levels[levels.length - 1];
  const left = Math.max(...levels.map((level) => format(level).length)) * em * 0.62 + em;
  const x = (time) => left + (width - left - 2) * (time - window.from) / (window.end - window.from);
  const y = (value) => em + (height - 2.6 * em) * (1 - value / top);
  const path = (all) => all.map(([time, value], at) => (at ? "L" : "M") + x(time).toFixed(1) + " " + y(value).toFixed(1)).join("");
  const drawn = [];
  for (const level of levels) {
    drawn.push(svg("line", { class: "grid", x1: left, x2: width, y1: y(level), y2: y(level) }));
    drawn.push(svg("text", { x: left - em * 0.6, y: y(level) + em * 0.35, "text-anchor": "end" }, format(level)));
  }
  const times = timeTicks(window, Math.max(2, Math.floor(width / (em * 9))));
  for (const time of times.all) {
    const text = times.days ? day(time).slice(5) : clock(time, times.seconds), half = text.length * em * 0.28;
    drawn.push(svg("text", { x: Math.min(width - half, Math.max(left + half, x(time))), y: height - em * 0.2, "text-anchor": "middle" }, text));
  }
  const first = points[0], last = points[points.length - 1];
  drawn.push(svg("path", { class: "area", d: path(points) + "L" + x(last[0]).toFixed(1) + " " + y(0) + "L" + x(first[0]).toFixed(1) + " " + y(0) + "Z" }));
  if (limit) drawn.push(svg("path", { class: "limit", d: path(bound) }));
  drawn.push(svg("path", { class: "line", d: path(points) }));
  const shown = chart.pointed === null ? last : points[Math.min(points.length - 1, Math.round(chart.pointed * (points.length - 1)))];
  if (chart.pointed !== null) drawn.push(svg("line", { class: "cross", x1: x(shown[0]), x2: x(shown[0]), y1: em, y2: y(0) }));
  canvas.setAttribute("viewBox", "0 0 " + width + " " + height);
  canvas.replaceChildren(...drawn);
  const of = limit ? " of " + format(bound[points.indexOf(shown)][1]) : "";
  patch(chart.now, h("b", null, format(shown[1])), of + (chart.pointed === null ? "" : " at " + clock(shown[0], true)));
  canvas.setAttribute("aria-label", chart.title + " from " + clock(window.from) + " to " + clock(window.end) + ": now " + format(last[1]) + of
    + ", at most " + format(Math.max(...points.map((point) => point[1]))));
  chart.left = left / width;
}

function makeChart(title, name, colour, format, options) {
  const canvas = svg("svg", { class: "chart", role: "img", tabindex: "0", "aria-label": title });
  canvas.style.setProperty("--of", "var(--" + colour + ")");
  const chart = { title, name, format, canvas, now: h("span", { class: "now" }), pointed: null, left: 0, ...options };
  const point = (share) => {
    chart.pointed = share === null ? null : Math.min(1, Math.max(0, share));
    drawChart(chart);
  };
  canvas.addEventListener("pointermove", (event) => {
    const at = canvas.getBoundingClientRect();
    point(((event.clientX - at.left) / at.width - chart.left) / (1 - chart.left));
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") point(null);
    if (!step) return;
    event.preventDefault();
    point((chart.pointed === null ? 1 : chart.pointed) + step / 60);
  });
  chart.box = h("section", { class: "box" }, h("div", { class: "head" }, h("h2", null, title), chart.now), canvas);
  return chart;
}

function rangeButtons(redraw) {
  const buttons = ranges.map(([name], at) => h("button", { type: "button", onclick: () => { range = at; paint(); redraw(); } }, name));
  const paint = () => {
    const window = span(), whole = window ? window.whole : 0;
    const chosen = range === null ? (whole <= 300 ? 3 : 1) : range;
    buttons.forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === chosen));
      button.hidden = ranges[at][1] !== null && ranges[at][1] > whole && at !== chosen;
    });
    group.hidden = whole <= 300;
  };
  const group = h("div", { class: "ranges", role: "group", "aria-label": "Time shown" }, buttons);
  return { group, paint };
}
