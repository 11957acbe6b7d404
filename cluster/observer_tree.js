// The supervision tree: a row for each agent that is in sight. What is closed is a count, and costs nothing.

import { $, arrange, button, made, put, remark } from "./observer_elements.js";
import { count, last, of } from "./observer_words.js";

const SHOWN = 100;
const SHOWN_LIMIT = 1_000;
const OPENED_LIMIT = 200;
const FOUND_LIMIT = 100;
const FIND_AFTER_MS = 250;
const MARKED_MS = 2_500;

export class Tree {
  /** `onView` is told what this page shows, `onDeed` what somebody wants done to an agent. */
  constructor(onView, onDeed) {
    this.onView = onView;
    this.onDeed = onDeed;
    this.box = $("tree");
    this.lines = new Map();
    this.frame = { parts: {}, rows: new Map(), order: [] };
    this.opened = null;
    this.shown = SHOWN;
    this.at = "";
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focusin", ({ target }) => this.come(target.closest(".row").id.slice("row:".length)));
    let typing = 0;
    $("find").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => {
        this.box.scrollTop = 0;
        this.onView(this.view());
      }, FIND_AFTER_MS);
    });
    $("more").addEventListener("click", () => {
      this.shown = Math.min(this.shown * 2, SHOWN_LIMIT);
      this.onView(this.view());
    });
  }

  /** What is in sight, as the server reads it. */
  view() {
    const asked = new URLSearchParams();
    if (this.opened !== null) for (const id of this.opened.size ? this.opened : [""]) asked.append("opened", id);
    if (this.shown !== SHOWN) asked.set("shown", this.shown);
    const find = $("find").value.trim();
    if (find) asked.set("find", find);
    return asked;
  }

  /** Shows a frame; `changed` are the ids of the rows that differ, all where it is null. */
  show(frame, changed) {
    this.frame = frame;
    for (const [id, line] of this.lines) {
      if (!frame.rows.has(id)) {
        line.remove();
        this.lines.delete(id);
      }
    }
    if (!frame.rows.has(this.at)) this.at = frame.order[0] ?? "";
    for (const id of changed ?? frame.order) if (frame.rows.has(id)) this.draw(id, frame.rows.get(id));
    arrange(this.box, frame.order.map((id) => this.lines.get(id)));
    const hidden = [...frame.rows.values()].reduce((sum, row) => sum + (row.more ?? 0), 0);
    $("more").hidden = hidden === 0 || this.shown >= SHOWN_LIMIT;
    put($("more"), "Show more");
    $("columns").hidden = !frame.order.length;
    // Where all run in the process that stands above, a column of processes would be empty.
    $("tree-panel").classList.toggle("one-process", ![...this.lines.values()].some((line) => line.parts.place.textContent));
    remark("tree", this.unseen(hidden));
  }

  /** What is to be said of agents that are not in sight. */
  unseen(hidden) {
    const { order, parts } = this.frame;
    const isFinding = $("find").value.trim() !== "";
    if (!order.length && isFinding) return "No agent has such an id.";
    if (!order.length) return parts.app.state === "starting" ? "The app starts; its agents are shown when they are there." : "There are no agents to be seen.";
    if (isFinding && order.length >= FOUND_LIMIT) return `The first ${FOUND_LIMIT} are shown; type more of the id.`;
    return hidden ? `${of(hidden, "agent")} of what is open ${hidden === 1 ? "is" : "are"} not shown; Find has them all.` : "";
  }

  /** Brings the line of a row to what it says. Its elements stay, or a click on one that is just replaced would be lost. */
  draw(id, row) {
    const line = this.lines.get(id) ?? this.newLine(id);
    const { toggle, title, life, state, mailbox, restarts, place, facts, rules, why, deeds } = line.parts;
    if (line.life !== undefined && line.life !== row.life) {
      line.classList.add("back");
      clearTimeout(line.mark);
      line.mark = setTimeout(() => line.classList.remove("back"), MARKED_MS);
    }
    line.life = row.life;
    line.style.setProperty("--depth", row.depth);
    line.setAttribute("aria-level", row.depth + 1);
    if (row.opens) line.setAttribute("aria-expanded", row.open);
    else line.removeAttribute("aria-expanded");
    toggle.classList.toggle("shut", !row.opens);
    put(toggle, row.opens ? (row.open ? "▾" : "▸") : "");
    put(title, row.depth === 0 ? id : last(id, "/"));
    put(life, `#${row.life}`);
    put(state, row.state);
    state.className = `state ${row.state}`;
    number(mailbox, row.below ? row.below.mailbox : row.mailbox);
    number(restarts, row.restarts + (row.below?.restarts ?? 0));
    restarts.title = row.below ? `${count(row.restarts)} of its own, ${count(row.below.restarts)} below it` : "";
    put(place, row.pid && row.pid !== this.frame.parts.app.pid ? `pid ${row.pid} · ${row.node}` : "");
    place.title = place.textContent;
    put(facts, this.facts(row));
    put(rules, row.strategy ? `${facts.textContent ? " · " : ""}${row.strategy}, ${row.intensity.replaceAll(" ", "\u00a0")}` : "");
    put(why, row.reason ? `last ended with ${row.reason}` : "");
    why.title = row.reason;
    line.ariaLabel = [last(id, "/"), row.state, facts.textContent + rules.textContent, `${mailbox.textContent} in mailbox`, of(Number(restarts.dataset.number), "restart"), place.textContent, why.textContent].filter(Boolean).join(", ");
    line.tabIndex = id === this.at ? 0 : -1;
    const may = this.deeds(row);
    deeds.hidden = !may.length;
    for (const deed of deeds.children) {
      deed.hidden = !may.includes(deed.textContent);
      deed.tabIndex = line.tabIndex;
    }
  }

  newLine(id) {
    // For a mouse or finger; keys and screen readers have the row itself, which says whether it is open.
    const toggle = made("span", { className: "toggle", "aria-hidden": "true" });
    toggle.addEventListener("click", () => this.frame.rows.get(id)?.opens && this.toggle(id));
    const deeds = ["restart", "kill"].map((deed) => button(deed, () => this.onDeed(deed, id, this.frame.rows.get(id)), deed === "kill" ? "danger" : ""));
    for (const deed of deeds) deed.ariaLabel = `${deed.textContent} ${id}`;
    const cell = (className) => made("span", { className });
    const parts = {
      toggle,
      title: made("b", { title: id }),
      life: cell("life"),
      facts: cell("facts"),
      rules: cell("facts rules"),
      state: cell("state"),
      mailbox: cell("cell mailbox"),
      restarts: cell("cell restarts"),
      place: cell("place"),
      why: cell("why"),
      deeds: made("span", { className: "deeds" }, ...deeds),
    };
    const name = made("span", { className: "name" }, toggle, parts.title, parts.life, parts.facts, parts.rules);
    const line = made("div", { role: "treeitem", className: "row", id: `row:${id}` }, name, parts.state, parts.mailbox, parts.restarts, parts.place, parts.why, parts.deeds);
    line.parts = parts;
    line.addEventListener("click", () => this.go(id));
    this.lines.set(id, line);
    return line;
  }

  /** What may be done to whom: nobody supervises a root, and who is temporary is not started again. */
  deeds(row) {
    if (!this.frame.parts.may_act || !row.restart) return [];
    return row.restart === "temporary" ? ["kill"] : ["restart", "kill"];
  }

  facts(row) {
    if (!row.below) return "";
    const states = Object.entries(row.below.states).filter(([state]) => state !== "running");
    const told = [of(row.below.agents, "agent"), ...states.map(([state, number]) => `${count(number)} ${state}`)];
    return told.join(" · ");
  }

  // ---- moving about -----------------------------------------------------------------------------

  toggle(id) {
    if (this.opened === null) this.opened = new Set(this.frame.order.filter((each) => this.frame.rows.get(each).open));
    if (this.opened.has(id)) this.opened.delete(id);
    else {
      if (this.opened.size >= OPENED_LIMIT) this.opened.delete(this.opened.values().next().value); // the first that was opened
      this.opened.add(id);
    }
    this.onView(this.view());
  }

  go(id) {
    this.come(id);
    this.lines.get(id)?.focus();
  }

  /** From now on this is the row that keys mean. */
  come(id) {
    if (id === this.at) return;
    const before = this.at;
    this.at = id;
    for (const each of [before, id]) if (this.frame.rows.has(each)) this.draw(each, this.frame.rows.get(each));
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { order, rows } = this.frame;
    const place = order.indexOf(this.at);
    const row = rows.get(this.at);
    if (!row) return;
    const deed = { r: "restart", k: "kill" }[event.key.toLowerCase()];
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: order.length - 1 };
    if (event.key in moves) this.go(order[Math.min(Math.max(moves[event.key], 0), order.length - 1)]);
    else if (event.key === "ArrowRight" && row.opens && !row.open) this.toggle(this.at);
    else if (event.key === "ArrowLeft" && row.open) this.toggle(this.at);
    else if (event.key === "ArrowLeft") this.go(order.findLast((id, at) => at < place && rows.get(id).depth < row.depth) ?? this.at);
    else if ((event.key === "Enter" || event.key === " ") && row.opens && event.target.role === "treeitem") this.toggle(this.at);
    else if (this.deeds(row).includes(deed)) this.onDeed(deed, this.at, row);
    else return;
    event.preventDefault();
  }
}

/** A number of a row; nothing is told more quietly than something. */
function number(cell, value) {
  put(cell, count(value));
  cell.dataset.number = value;
  cell.classList.toggle("none", !value);
}
