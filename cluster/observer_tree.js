// The supervision tree: a row for each agent that is in sight. What is closed is a count, and costs nothing.

import { $, button, count, fill, made, of, put } from "./observer_elements.js";

const SHOWN = 100;
const SHOWN_LIMIT = 1_000;
const FIND_AFTER_MS = 250;

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
    let typing = 0;
    $("find").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.onView(this.view()), FIND_AFTER_MS);
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
    let place = this.box.firstChild;
    for (const id of frame.order) {
      const line = this.lines.get(id);
      if (line === place) place = place.nextSibling;
      else this.box.insertBefore(line, place);
    }
    const hidden = [...frame.rows.values()].reduce((sum, row) => sum + (row.more ?? 0), 0);
    $("more").hidden = hidden === 0 || this.shown >= SHOWN_LIMIT;
    fill($("more"), `${count(hidden)} more are not shown: show more`);
    if (!frame.order.length) fill(this.box, made("p", { className: "empty" }, $("find").value ? "No agent has such an id." : "There is no tree to be seen."));
    else this.box.querySelector(":scope > .empty")?.remove();
  }

  /** Brings the line of a row to what it says. Its elements stay, or a click on one that is just replaced would be lost. */
  draw(id, row) {
    const line = this.lines.get(id) ?? this.newLine(id, row);
    const { toggle, life, state, facts, why, deeds } = line.parts;
    if (line.life !== undefined && line.life !== row.life) {
      line.classList.remove("back");
      void line.offsetWidth; // so that the mark begins anew
      line.classList.add("back");
    }
    line.life = row.life;
    line.style.setProperty("--depth", row.depth);
    line.setAttribute("aria-level", row.depth + 1);
    if (row.opens) line.setAttribute("aria-expanded", row.open);
    else line.removeAttribute("aria-expanded");
    toggle.hidden = !row.opens;
    put(toggle, row.open ? "▾" : "▸");
    put(life, `#${row.life}`);
    put(state, row.state);
    state.className = `state ${row.state}`;
    put(facts, this.facts(row));
    put(why, row.reason ? `last ended with ${row.reason}` : "");
    why.title = row.reason;
    deeds.hidden = !this.frame.parts.may_act || !row.restart; // nobody supervises a root
    line.tabIndex = id === this.at ? 0 : -1;
    for (const deed of deeds.children) deed.tabIndex = line.tabIndex;
  }

  newLine(id, row) {
    const toggle = button("", () => this.toggle(id), "toggle");
    toggle.tabIndex = -1;
    toggle.setAttribute("aria-label", `open or close ${id}`);
    const deeds = ["restart", "kill"].map((deed) => button(deed, () => this.onDeed(deed, id), deed === "kill" ? "danger" : ""));
    for (const deed of deeds) deed.setAttribute("aria-label", `${deed.textContent} ${id}`);
    const short = row.depth === 0 ? id : id.slice(id.lastIndexOf("/") + 1);
    const parts = {
      toggle,
      life: made("span", { className: "life" }),
      state: made("span", { className: "state" }),
      facts: made("span", { className: "facts" }),
      why: made("span", { className: "why" }),
      deeds: made("span", { className: "deeds" }, ...deeds),
    };
    const name = made("span", { className: "name", title: id }, made("span", { className: "hinge" }, toggle), made("b", {}, short), parts.life);
    const line = made("div", { role: "treeitem", className: "row", id: `row:${id}` }, name, parts.state, parts.facts, parts.why, parts.deeds);
    line.parts = parts;
    line.addEventListener("click", () => this.go(id));
    this.lines.set(id, line);
    return line;
  }

  facts(row) {
    const told = [];
    if (row.below) {
      const states = Object.entries(row.below.states).filter(([state]) => state !== "running");
      told.push(of(row.below.agents, "agent"), ...states.map(([state, number]) => `${count(number)} ${state}`));
      told.push(`${row.strategy}, ${row.intensity}`);
      if (row.below.mailbox) told.push(`${count(row.below.mailbox)} in mailboxes`);
      if (row.below.restarts) told.push(`${of(row.below.restarts, "restart")} below`);
    } else {
      told.push(`mailbox ${count(row.mailbox)}`);
    }
    if (row.restarts) told.push(of(row.restarts, "restart"));
    if (row.pid) told.push(`pid ${row.pid}`);
    if (row.node) told.push(row.node);
    return told.filter((text) => text.trim() !== ",").join(" · ");
  }

  // ---- moving about -----------------------------------------------------------------------------

  toggle(id) {
    if (this.opened === null) this.opened = new Set(this.frame.order.filter((each) => this.frame.rows.get(each).open));
    if (this.opened.has(id)) this.opened.delete(id);
    else this.opened.add(id);
    this.onView(this.view());
  }

  go(id) {
    const before = this.at;
    this.at = id;
    for (const each of [before, id]) if (this.frame.rows.has(each)) this.draw(each, this.frame.rows.get(each));
    this.lines.get(id)?.focus();
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { order, rows } = this.frame;
    const place = order.indexOf(this.at);
    const row = rows.get(this.at);
    if (!row) return;
    const deed = this.frame.parts.may_act && row.restart ? { r: "restart", k: "kill" }[event.key] : undefined;
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: order.length - 1 };
    if (event.key in moves) this.go(order[Math.min(Math.max(moves[event.key], 0), order.length - 1)]);
    else if (event.key === "ArrowRight" && row.opens && !row.open) this.toggle(this.at);
    else if (event.key === "ArrowLeft" && row.open) this.toggle(this.at);
    else if (event.key === "ArrowLeft") this.go(order.findLast((id, at) => at < place && rows.get(id).depth < row.depth) ?? this.at);
    else if ((event.key === "Enter" || event.key === " ") && row.opens && event.target.role === "treeitem") this.toggle(this.at);
    else if (deed) this.onDeed(deed, this.at);
    else return;
    event.preventDefault();
  }
}
