// Elements made of texts. Nothing here, and nothing elsewhere on this page, reads markup: what agents and messages say
// becomes text, whatever it looks like.

/** The element of this page with that id. */
export const $ = (id) => document.getElementById(id);

/** A new element; `properties` are those of the DOM and `aria-…` attributes, `inside` texts and elements. */
export function made(tag, properties = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...inside.filter((part) => part !== null && part !== ""));
  return element;
}

/** A button that does something. */
export function button(text, act, className = "") {
  const element = made("button", { type: "button", className }, text);
  element.addEventListener("click", (event) => {
    event.stopPropagation();
    act();
  });
  return element;
}

/** A table with these columns, which are its heads by the names of classes; numbers stand on the right. */
export function table(columns, rows) {
  const head = made("tr", {}, ...Object.entries(columns).map(([name, text]) => made("th", { className: name, scope: "col" }, text)));
  const body = rows.map((cells) => made("tr", {}, ...Object.keys(columns).map((name) => made("td", { className: name }, cells[name] ?? ""))));
  return made("div", { className: "scroll", tabIndex: 0 }, made("table", {}, made("thead", {}, head), made("tbody", {}, ...body)));
}

/** Puts these in the place of all that an element holds. */
export const fill = (element, ...inside) => element.replaceChildren(...inside.filter((part) => part !== null && part !== ""));

/** Writes a text into an element, where it has another one. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const empty = (text) => made("p", { className: "empty" }, text);

/** The time of day of an ISO time. */
export const clock = (iso) => new Date(iso).toLocaleTimeString([], { hour12: false });

export const count = (number) => Number(number ?? 0).toLocaleString("en");

/** So many of a thing: `1 agent`, `2 agents`. */
export const of = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;

export const money = (usd) => (usd === null || usd === undefined ? "–" : `$${Number(usd).toFixed(4)}`);

export const tokens = (input, output) => (input || output ? `${count(input)} → ${count(output)}` : "–");

/** A duration in µs as people read it. */
export function took(us) {
  if (us < 1_000) return `${us} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toFixed(1)} ms`;
  return us < 100_000_000 ? `${(us / 1_000_000).toFixed(2)} s` : `${count(Math.round(us / 1_000_000))} s`;
}

/** Since when, in one unit. */
export function since(iso) {
  const seconds = Math.max(0, (Date.now() - new Date(iso)) / 1_000);
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.floor(seconds)} s`;
}

/** Asks in a dialog; the value of the button that was chosen, null where somebody has gone away from it. */
export function ask(title, inside, choices) {
  const dialog = $("dialog");
  return new Promise((resolve) => {
    let chosen = null;
    const choose = (value) => {
      chosen = value;
      dialog.close();
    };
    fill($("dialog-title"), title);
    fill($("dialog-body"), ...inside);
    fill($("dialog-buttons"), ...choices.map(([text, value, className]) => button(text, () => choose(value), className)), button("Cancel", () => choose(null)));
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
  });
}

let silence = 0;

/** Tells in one line at the foot of the page how something went. */
export function say(text, isBad = false) {
  const line = $("said");
  line.textContent = text;
  line.className = isBad ? "bad" : "";
  line.hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => (line.hidden = true), isBad ? 20_000 : 8_000);
}
