// What waits for people, what has happened, what was set aside or lost, and what hosts and models tell of themselves.

import { $, List, Table, ago, ask, at, button, made, remark } from "./observer_elements.js";
import { count, last, money, of } from "./observer_words.js";

const HOSTS = { host: "host", number: "agents", mailbox: "in mailboxes", turns: "turns", lag: "loop lag", spent: "tokens", cost: "cost" };
const MODELS = { model: "model", tier: "tier", number: "calls", spent: "tokens", cost: "cost" };

/** The panels; `onOrder` is given an order and what to say meanwhile, and gives what came of it, or null. */
export class Panels {
  constructor(onOrder) {
    this.onOrder = onOrder;
    this.mayAct = false;
    this.lists = {
      news: new List($("news"), ({ at, agent, what }) => `${at} ${agent} ${what}`, event),
      waits: new List($("waits"), (row) => row.id, (row) => this.wait(row)),
      quarantine: new List($("quarantine"), (row) => row.id, (row) => this.aside(row)),
      letters: new List($("letters"), (letter) => letter.number, deadLetter),
      hosts: new Table($("hosts"), HOSTS, (host) => `${host.host} ${host.pid}`, hostCells),
      models: new Table($("models"), MODELS, (each) => `${each.model} ${each.tier}`, modelCells),
    };
  }

  /** Shows those parts that were told, all where it is another question who may act. */
  show(parts, told) {
    if ("may_act" in told && parts.may_act !== this.mayAct) {
      this.mayAct = parts.may_act;
      for (const name of ["waits", "quarantine"]) this.lists[name].forget();
    }
    const isNew = (name) => (name in told || "may_act" in told) && parts[name] !== undefined;
    if (isNew("news")) this.rows("news", { rows: [...parts.news].reverse(), more: false }, "Nothing has happened since somebody looks.");
    if (isNew("waits")) this.rows("waits", parts.waits, "Nothing waits for a person. What needs consent or an answer stands here.");
    if (isNew("quarantine")) this.rows("quarantine", parts.quarantine, "Nothing is in quarantine. A message that ends its agent again and again is set aside here.");
    if (isNew("letters")) this.letters(parts.letters);
    if (isNew("metrics")) this.metrics(parts.metrics);
  }

  rows(name, { note, rows = [], more }, nothing) {
    this.lists[name].show(rows);
    remark(name, note ?? (rows.length ? (more ? "There are more, which a terminal shows." : "") : nothing));
  }

  // ---- what waits for a person ------------------------------------------------------------------

  wait(row) {
    const when = made("span", { className: "facts" }, "sent ", ago(row.sent), row.until ? " · ends " : "", row.until ? ago(row.until) : "");
    const card = made("article", { className: "card" }, made("h3", {}, row.agent), when);
    if (!row.call) {
      card.append(made("p", {}, "waits for ", made("code", { title: row.for }, last(row.for, ":"))));
      if (this.mayAct) card.append(made("p", { className: "deeds" }, button("Answer", () => this.answer(row))));
      return card;
    }
    card.append(made("p", {}, "wants to call ", made("code", {}, row.call.tool)));
    if (row.call.why) card.append(made("p", { className: "why" }, row.call.why));
    if (row.call.arguments) card.append(made("pre", { tabIndex: 0, "aria-label": `arguments of ${row.call.tool}` }, row.call.arguments));
    if (!this.mayAct) card.append(made("p", { className: "empty" }, "Its arguments are shown to those who have the token."));
    else if (row.call.whole) card.append(made("p", { className: "deeds" }, this.say(row, true), this.say(row, false)));
    else card.append(made("p", { className: "empty" }, `This is too long to be shown whole, and nobody consents here to what is not. In a terminal: regrow waits ${row.agent}`));
    return card;
  }

  say(row, approved) {
    const fields = { approved, reason: approved ? "" : "refused on the page" };
    const act = () => this.onOrder({ do: "approve", id: row.id, fields }, `Telling ${row.agent}`);
    const made = button(approved ? "Approve" : "Refuse", act, approved ? "good" : "danger");
    made.ariaLabel = `${approved ? "Approve" : "Refuse"} ${row.call.tool} of ${row.agent}`;
    return made;
  }

  async answer(row) {
    const text = made("textarea", { rows: 6, value: "{}", spellcheck: false, "aria-label": "fields of the answer, as JSON" });
    const wrong = made("p", { className: "bad", role: "alert" });
    for (;;) {
      const inside = [made("p", {}, "The fields of ", made("code", {}, row.for), ", as JSON; each that is left out has its default."), text, wrong];
      if (!(await ask(`Answer to ${row.agent}`, inside, [["Answer", "yes", "good"]]))) return;
      try {
        const fields = JSON.parse(text.value);
        if (await this.onOrder({ do: "approve", id: row.id, fields }, `Telling ${row.agent}`)) return;
        wrong.textContent = "It was not taken; see below, and try again.";
      } catch (error) {
        wrong.textContent = `This is no JSON: ${error.message}`;
      }
    }
  }

  // ---- quarantine -------------------------------------------------------------------------------

  aside(row) {
    const card = made("article", { className: "card" }, made("h3", {}, row.agent), made("span", { className: "facts" }, "set aside ", ago(row.since)));
    if (this.mayAct) card.append(made("p", { className: "deeds" }, button("Look and decide", () => this.decide(row))));
    return card;
  }

  async decide(row) {
    const told = await this.onOrder({ do: "show", id: row.id });
    if (!told) return;
    const { message } = told;
    const inside = [
      made("p", {}, made("code", {}, message.type)),
      made("pre", { tabIndex: 0, "aria-label": "the message" }, message.fields === null ? message.unreadable : JSON.stringify(message.fields, null, 2)),
      made("p", { className: "why" }, message.reason),
      made("ul", {}, ...message.history.map(({ epoch, text }) => made("li", {}, `life ${epoch} failed: ${text}`)), ...message.steps.map(({ name, number, state }) => made("li", {}, `step ${name} (number ${number}) ${state}`))),
    ];
    const again = message.open_steps
      ? [["Requeue: the step was done", ["requeue", "done"], "good"], ["Requeue: it was not", ["requeue", "undone"], "good"]]
      : [["Requeue", ["requeue", null], "good"]];
    if (message.open_steps) inside.push(made("p", {}, "A step was begun, and nobody knows whether it was done: look, and say so."));
    const chosen = await ask(`A message of ${row.agent}`, inside, [...again, ["Forget it", ["drop", null], "danger"]]);
    if (!chosen) return;
    const [deed, assume] = chosen;
    await this.onOrder({ do: deed, id: row.id, ...(assume ? { assume } : {}) }, deed === "drop" ? "Forgetting it" : "Putting it back");
  }

  // ---- what was lost, and what hosts tell -------------------------------------------------------

  letters({ note, total = 0, counts = {}, latest = [] }) {
    const first = total - latest.length;
    this.lists.letters.show(latest.map((letter, place) => ({ ...letter, number: first + place })).reverse());
    const reasons = Object.entries(counts).sort(([, one], [, other]) => other - one).map(([reason, number]) => `${count(number)} ${reason}`);
    remark("letters", note ?? (total ? `${of(total, "dead letter")}: ${reasons.join(", ")}` : "No message was lost."));
  }

  metrics({ note, hosts = [], more, total, models = [] }) {
    this.lists.hosts.show(total && hosts.length > 1 ? [{ ...total, host: "all", pid: 0, alive: true }, ...hosts] : hosts);
    remark("hosts", note ?? (more ? `and ${count(more)} more` : ""));
    this.lists.models.show(models);
    remark("models", note ?? (models.length ? "" : "No model has been called since the app has started."));
  }
}

function event({ at: when, agent, what, why }) {
  return made("li", {}, at(when), " ", made("b", {}, agent), ` ${what}`, why ? made("span", { className: "why", title: why }, why) : null);
}

function deadLetter({ at: when, reason, message, sender, receiver }) {
  return made("li", {}, at(when), " ", made("b", {}, message), ` to ${receiver}`, made("span", { className: "why" }, `${reason} · from ${sender}`));
}

function hostCells(host) {
  const lag = host.loop_lag_ms;
  return {
    host: host.pid ? `${host.host} · pid ${host.pid}${host.alive ? "" : " · gone"}` : made("b", {}, host.host),
    number: count(host.agents),
    mailbox: count(host.mailbox_depth),
    turns: count(host.turns),
    lag: lag === null || lag === undefined ? "–" : `${lag.toFixed(1)} ms`,
    spent: count(host.tokens),
    cost: money(host.cost_usd),
  };
}

const modelCells = ({ model, tier, calls, tokens, cost_usd: cost }) => ({ model, tier, number: count(calls), spent: count(tokens), cost: money(cost) });
