// What has happened, what waits for people, what was set aside or lost, and what hosts tell of themselves.

import { $, ask, button, clock, count, empty, fill, made, money, of, table } from "./observer_elements.js";

/** The panels; `onOrder` is given an order, and gives what came of it, or null. */
export class Panels {
  constructor(onOrder) {
    this.onOrder = onOrder;
  }

  /** Shows those parts that were told, all where nothing says which. */
  show(parts, told) {
    const changed = (name) => (name in told || "may_act" in told) && parts[name] !== undefined;
    if (changed("news")) this.news(parts.news);
    if (changed("waits")) this.list("waits", parts.waits, "Nothing waits for a person.", (row) => this.wait(row, parts.may_act));
    if (changed("quarantine")) this.list("quarantine", parts.quarantine, "Nothing is in quarantine.", (row) => this.aside(row, parts.may_act));
    if (changed("letters")) this.letters(parts.letters);
    if (changed("metrics")) this.hosts(parts.metrics);
  }

  news(news) {
    const line = ({ at, agent, what, why }) =>
      made("li", {}, made("time", { dateTime: at }, clock(at)), " ", made("b", {}, agent), ` ${what}`, why ? made("span", { className: "why", title: why }, why) : null);
    fill($("news"), ...(news.length ? [...news].reverse().map(line) : [made("li", { className: "empty" }, "Nothing since this page looks.")]));
  }

  list(id, told, nothing, drawn) {
    if (told.note) return fill($(id), empty(told.note));
    const more = told.more ? empty("and more, which a terminal shows") : null;
    return fill($(id), ...(told.rows.length ? told.rows.map(drawn) : [empty(nothing)]), more);
  }

  // ---- what waits for a person ------------------------------------------------------------------

  wait(row, mayAct) {
    const until = row.until ? ` · until ${new Date(row.until).toLocaleString()}` : "";
    const about = `sent ${new Date(row.sent).toLocaleString()}${until}`;
    const card = made("article", { className: "card" }, made("b", {}, row.agent), made("span", { className: "facts" }, about));
    if (!row.call) {
      card.append(made("p", {}, "waits for ", made("code", {}, row.for.split(":").pop())));
      if (mayAct) card.append(made("p", { className: "deeds" }, button("answer", () => this.answer(row))));
      return card;
    }
    card.append(made("p", {}, "wants to call ", made("code", {}, row.call.tool)));
    if (row.call.why) card.append(made("p", { className: "why" }, row.call.why));
    if (row.call.arguments) card.append(made("pre", { tabIndex: 0 }, row.call.arguments));
    else if (!mayAct) card.append(empty("Its arguments are shown to those who have the token."));
    if (mayAct && row.call.whole) {
      const say = (approved) => () => this.onOrder({ do: "approve", id: row.id, fields: { approved, reason: approved ? "" : "refused on the page" } });
      card.append(made("p", { className: "deeds" }, button("approve", say(true), "good"), button("refuse", say(false), "danger")));
    } else if (mayAct) card.append(empty(`This is too long to be shown here; look at it with: regrow waits ${row.agent}`));
    return card;
  }

  async answer(row) {
    const text = made("textarea", { rows: 6, value: "{}", "aria-label": "fields of the answer, as JSON" });
    if (!(await ask(`Answer to ${row.agent}`, [made("p", {}, `The fields of ${row.for}, as JSON; each that is left out has its default.`), text], [["answer", "yes", "good"]]))) return;
    let fields = null;
    try {
      fields = JSON.parse(text.value);
    } catch {
      fields = null;
    }
    this.onOrder({ do: "approve", id: row.id, fields: fields ?? text.value });
  }

  // ---- quarantine -------------------------------------------------------------------------------

  aside(row, mayAct) {
    const card = made("article", { className: "card" }, made("b", {}, row.agent), made("span", { className: "facts" }, `since ${new Date(row.since).toLocaleString()}`));
    if (mayAct) card.append(made("span", { className: "deeds" }, button("look and decide", () => this.decide(row))));
    return card;
  }

  async decide(row) {
    const told = await this.onOrder({ do: "show", id: row.id });
    if (!told) return;
    const { message } = told;
    const inside = [
      made("p", {}, made("code", {}, message.type)),
      made("pre", { tabIndex: 0 }, message.fields === null ? message.unreadable : JSON.stringify(message.fields, null, 2)),
      made("p", { className: "why" }, message.reason),
      made("ul", {}, ...message.history.map(({ epoch, text }) => made("li", {}, `life ${epoch} failed: ${text}`)), ...message.steps.map(({ name, number, state }) => made("li", {}, `step ${name} (number ${number}) ${state}`))),
    ];
    const again = message.open_steps
      ? [["requeue: the step was done", ["requeue", "done"], "good"], ["requeue: it was not", ["requeue", "undone"], "good"]]
      : [["requeue", ["requeue", null], "good"]];
    if (message.open_steps) inside.push(made("p", {}, "A step was begun, and nobody knows whether it was done: look, and say so."));
    const chosen = await ask(`A message of ${row.agent}`, inside, [...again, ["forget it", ["drop", null], "danger"]]);
    if (!chosen) return;
    const [deed, assume] = chosen;
    this.onOrder({ do: deed, id: row.id, ...(assume ? { assume } : {}) });
  }

  // ---- what was lost, and what hosts tell -------------------------------------------------------

  letters({ note, total, counts, latest }) {
    if (note) return fill($("letters"), empty(note));
    if (!total) return fill($("letters"), empty("Every message was handled."));
    const reasons = Object.entries(counts).sort(([, one], [, other]) => other - one);
    const told = latest.map(({ at, reason, message, sender, receiver }) => ({ time: clock(at), reason, message, path: `${sender} → ${receiver}` }));
    return fill(
      $("letters"),
      made("p", {}, made("b", {}, of(total, "dead letter")), ": ", reasons.map(([reason, number]) => `${count(number)} ${reason}`).join(", ")),
      table({ time: "time", reason: "reason", message: "message", path: "from → to" }, told.reverse()),
    );
  }

  hosts(told) {
    if (told.note) return;
    $("hosts-panel").hidden = false;
    const row = (host, name) => ({
      host: name,
      number: count(host.agents),
      mailbox: count(host.mailbox_depth),
      turns: count(host.turns),
      lag: host.loop_lag_ms === null || host.loop_lag_ms === undefined ? "–" : `${Number(host.loop_lag_ms).toFixed(1)} ms`,
      spent: count(host.tokens),
      cost: money(host.cost_usd),
    });
    const heads = { host: "host", number: "agents", mailbox: "mailboxes", turns: "turns", lag: "loop lag", spent: "tokens", cost: "cost" };
    const hosts = told.hosts.map((host) => row(host, `${host.host} · pid ${host.pid}${host.alive ? "" : " · gone"}`));
    fill($("hosts"), table(heads, [row(told.total, "all"), ...hosts]), told.more ? empty(`and ${count(told.more)} more`) : null);
    const models = told.models.map(({ model, tier, calls, tokens, cost_usd: cost }) => ({ model, tier, number: count(calls), spent: count(tokens), cost: money(cost) }));
    const columns = { model: "model", tier: "tier", number: "calls", spent: "tokens", cost: "cost" };
    fill($("models"), models.length ? table(columns, models) : empty("No model has been called since the app has started."));
  }
}
