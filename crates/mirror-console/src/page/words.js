// Texts, numbers and elements.
const find = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const count = (n) => number.format(n);
const many = (n, one, more) => count(n) + " " + (n === 1 ? one : more);
const dash = "–";

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return (at && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[at];
}

function rate(n) {
  return n >= 100 || n === 0 ? count(Math.round(n)) : n >= 10 ? n.toFixed(0) : n.toFixed(1);
}

// Two units at most: nobody needs the seconds of three hours.
function duration(seconds) {
  if (seconds === null || seconds === undefined) return dash;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.max(0, Math.round(seconds));
  const parts = [];
  for (const [name, size] of units) {
    const whole = Math.floor(rest / size);
    if (whole > 0) { parts.push(whole + " " + name); rest -= whole * size; }
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.length ? parts.join(" ") : "0 s";
}

const two = (n) => String(n).padStart(2, "0");
function clock(ms, seconds) {
  const at = new Date(ms);
  return two(at.getHours()) + ":" + two(at.getMinutes()) + (seconds ? ":" + two(at.getSeconds()) : "");
}
function day(ms) {
  const at = new Date(ms);
  return at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate());
}
const moment = (ms) => (day(ms) === day(Date.now()) ? "today" : day(ms)) + " " + clock(ms);
function ago(ms, now) {
  const seconds = Math.max(0, (now - ms) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 7200) return many(Math.floor(seconds / 60), "minute", "minutes") + " ago";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " hours ago";
  return Math.floor(seconds / 86400) + " days ago";
}

// Makes an element. Texts go in as texts, never as markup.
function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "width") element.style.width = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
function put(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}
function says(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function box(title, ...children) {
  return h("section", { class: "box" }, h("h2", null, title), children);
}
function facts(...rows) {
  return h("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}
function figures(...rows) {
  return h("dl", { class: "figures" }, rows.filter(Boolean).map(([name, value, more, kind]) =>
    h("div", null, h("dt", null, name), h("dd", { class: kind || null }, value, more ? h("small", null, more) : null))));
}
// `columns` are names; one that begins with # is a number.
function table(caption, columns, rows) {
  const head = columns.map((name) => h("th", { scope: "col", class: name.startsWith("#") ? "num" : null }, name.replace("#", "")));
  const body = rows.map((row) => h("tr", null, row.map((cell, at) =>
    h("td", { class: columns[at].startsWith("#") ? "num" : typeof cell === "string" && cell.length > 60 ? "wide" : null }, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", null, h("caption", { class: "unseen" }, caption), h("thead", null, h("tr", null, head)), h("tbody", null, body)));
}
const tag = (text, kind) => h("span", { class: "tag " + kind }, text);
function parts(className, all, label) {
  const sum = all.reduce((total, [, n]) => total + n, 0);
  return h("div", { class: className, role: "img", "aria-label": label },
    sum ? all.filter(([, n]) => n > 0).map(([kind, n]) => h("span", { class: "of-" + kind, width: 100 * n / sum + "%" })) : null);
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!answer.ok) {
    const said = (await answer.text()).trim();
    let text = said;
    try { text = JSON.parse(said).errors[0].detail; } catch { /* It is a plain text. */ }
    const error = new Error(text || String(answer.status));
    error.status = answer.status;
    throw error;
  }
  return answer.json();
}
