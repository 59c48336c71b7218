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

// Rounds the time that something will take: nobody can foresee the seconds of an hour.
function roughly(seconds) {
  if (seconds === null || seconds < 60) return seconds;
  const step = seconds < 600 ? 10 : seconds < 36000 ? 60 : 600;
  return Math.round(seconds / step) * step;
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
// In one line.
const moment = (ms) => (day(ms) === day(Date.now()) ? "today" : day(ms)) + "\u00a0" + clock(ms);
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
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
// Gives an element these children, and keeps those that are alike: focus, selection and scrolling stay where they are.
// Listeners stay, too, so this is for children without any.
function patch(element, ...children) {
  const wanted = children.flat(3).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => child instanceof Node ? child : document.createTextNode(child));
  wanted.forEach((child, at) => {
    const old = element.childNodes[at];
    if (!old) element.append(child);
    else if (!alike(old, child)) old.replaceWith(child);
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}
// Makes `old` like `wanted`; returns false when it is another kind of node.
function alike(old, wanted) {
  if (old.nodeName !== wanted.nodeName) return false;
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return true;
  }
  // The policy of the page allows styles that a script sets, and no attributes with styles.
  if (old.style.cssText !== wanted.style.cssText) old.style.cssText = wanted.style.cssText;
  const names = new Set([...old.attributes, ...wanted.attributes].map((attribute) => attribute.name));
  for (const name of names) {
    // A person opens and closes what can be opened.
    if (name === "style" || name === "open" || old.getAttribute(name) === wanted.getAttribute(name)) continue;
    if (wanted.hasAttribute(name)) old.setAttribute(name, wanted.getAttribute(name));
    else old.removeAttribute(name);
  }
  patch(old, [...wanted.childNodes]);
  return true;
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
// `columns` are names; one that begins with # is a number. On a phone each row is a list of names and values, so the
// roles, which come from the layout of a table otherwise, are said.
function table(caption, columns, rows) {
  const names = columns.map((name) => name.replace("#", "")), isNumber = (at) => columns[at].startsWith("#");
  const head = names.map((name, at) => h("th", { scope: "col", role: "columnheader", class: isNumber(at) ? "num" : null }, name));
  const body = rows.map((row) => h("tr", { role: "row" }, row.map((cell, at) =>
    h("td", { role: "cell", "data-name": names[at], class: isNumber(at) ? "num" : typeof cell === "string" && cell.length > 60 ? "wide" : null }, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { role: "table" }, h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), h("tbody", { role: "rowgroup" }, body)));
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
