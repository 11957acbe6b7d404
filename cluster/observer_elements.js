// Elements made of texts. Nothing here, and nothing elsewhere on this page, reads markup: what agents and messages say
// becomes text, whatever it looks like.

import { clock, distance } from "./observer_words.js";

const AGO_EVERY_MS = 1_000;

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

/** A button that does something, and nothing more until that is done. It stays in place, so that the focus does. */
export function button(text, act, className = "") {
  const element = made("button", { type: "button", className }, text);
  element.addEventListener("click", async (event) => {
    event.stopPropagation();
    if (element.ariaDisabled === "true") return;
    element.ariaDisabled = "true";
    try {
      await act();
    } finally {
      element.ariaDisabled = null;
    }
  });
  return element;
}

/** Puts these in the place of all that an element holds. */
export const fill = (element, ...inside) => element.replaceChildren(...inside.filter((part) => part !== null && part !== ""));

/** Writes a text into an element, where it has another one. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something about a part of the page, such as that there is nothing in it. */
export function remark(id, text) {
  put($(`${id}-remark`), text);
  $(`${id}-remark`).hidden = !text;
}

/** A time of day. */
export const at = (iso) => made("time", { dateTime: iso, title: new Date(iso).toLocaleString("en") }, clock(iso));

/** How long ago or far off something is; it goes on. */
export const ago = (iso) => made("time", { dateTime: iso, className: "ago", title: new Date(iso).toLocaleString("en") }, distance(iso));

setInterval(() => {
  for (const time of document.querySelectorAll("time.ago")) put(time, distance(time.dateTime));
}, AGO_EVERY_MS);

/** Puts elements below each other in this order; those that stand there already are not moved. */
export function arrange(box, elements) {
  let place = box.firstElementChild;
  for (const element of elements) {
    if (element === place) place = place.nextElementSibling;
    else box.insertBefore(element, place);
  }
}

/** Elements for items. One stays as long as its item says the same, with its focus, and is not read out again. */
export class List {
  /** `key` gives what an item is known by, `draw` its element. */
  constructor(box, key, draw) {
    this.box = box;
    this.key = key;
    this.draw = draw;
    this.shown = new Map();
  }

  /** Shows these and no others. */
  show(items) {
    const before = this.shown;
    this.shown = new Map();
    for (const item of items) {
      const [key, text] = [this.key(item), JSON.stringify(item)];
      const known = before.get(key);
      this.shown.set(key, known?.text === text ? known : { text, element: this.draw(item) });
    }
    const elements = [...this.shown.values()].map(({ element }) => element);
    const kept = new Set(elements);
    for (const { element } of before.values()) if (!kept.has(element)) element.remove();
    arrange(this.box, elements);
  }

  /** Draws all anew, where it is another question how. */
  forget() {
    for (const { element } of this.shown.values()) element.remove();
    this.shown = new Map();
  }
}

/** A table whose columns are its heads by the names of classes. */
export class Table {
  /** `key` gives what an item is known by, `cells` its cells by the names of the columns. */
  constructor(box, columns, key, cells) {
    const head = made("tr", {}, ...Object.entries(columns).map(([name, text]) => made("th", { className: name, scope: "col" }, text)));
    const body = made("tbody");
    const row = (item) => {
      const drawn = cells(item);
      return made("tr", {}, ...Object.keys(columns).map((name) => made("td", { className: name }, drawn[name] ?? "")));
    };
    this.whole = made("div", { className: "scroll", tabIndex: 0, role: "region", "aria-labelledby": box.closest("section").getAttribute("aria-labelledby") }, made("table", {}, made("thead", {}, head), body));
    this.whole.hidden = true;
    this.list = new List(body, key, row);
    box.append(this.whole);
  }

  show(items) {
    this.whole.hidden = !items.length;
    this.list.show(items);
  }
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
    const cancel = button("Cancel", () => choose(null));
    fill($("dialog-title"), title);
    fill($("dialog-body"), ...inside);
    fill($("dialog-buttons"), ...choices.map(([text, value, className]) => button(text, () => choose(value), className)), cancel);
    dialog.addEventListener("close", () => resolve(chosen), { once: true });
    dialog.showModal();
    if (choices[0][2] === "danger") cancel.focus(); // one more Enter is no consent to harm
  });
}

let silence = 0;

/** Tells at the foot of the page, above everything, how something goes or went. */
export function say(text, isBad = false) {
  const line = $("said");
  line.textContent = text;
  line.className = isBad ? "bad" : "";
  line.hidePopover(); // so that it lies above a dialog that was opened since
  line.showPopover();
  put($("heard"), text);
  clearTimeout(silence);
  silence = setTimeout(() => line.hidePopover(), isBad ? 20_000 : 8_000);
}
