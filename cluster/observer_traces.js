// Traces: a list of the latest, one as a waterfall, and what agents have spent.

import { $, button, clock, count, empty, fill, made, money, say, table, took, tokens } from "./observer_elements.js";
import { read } from "./observer_stream.js";

const EVERY_MS = 5_000;
const SHORT_ID = 12;

export class Traces {
  constructor() {
    this.chosen = "";
    this.inSight = false;
    new IntersectionObserver((entries) => {
      this.inSight = entries.some((entry) => entry.isIntersecting);
      if (this.inSight) this.look();
    }).observe($("traces-panel"));
    setInterval(() => this.look(), EVERY_MS);
  }

  /** Reads the list again, where somebody can see it. */
  async look() {
    if (!this.inSight || document.hidden) return;
    try {
      this.list(await read("/traces"));
    } catch (error) {
      fill($("traces"), empty(error.message));
    }
  }

  list({ traces, left_out: leftOut, spent, recorded }) {
    if (!traces.length) {
      fill($("traces"), empty(recorded ? "No trace has been recorded yet." : "Nothing is recorded here. Switch it on ([tracing] enabled = true in regrow.toml), and start this page from the folder of the app, or with --config."));
    } else if (JSON.stringify(traces) !== this.listed) {
      const rows = traces.map((each) => ({
        trace: button(each.trace_id.slice(0, SHORT_ID), () => this.open(each.trace_id), each.trace_id === this.chosen ? "link chosen" : "link"),
        began: clock(each.start_ns / 1e6),
        root: each.root,
        number: count(each.spans),
        took: took(Math.round(each.duration_s * 1e6)),
        spent: tokens(each.input_tokens, each.output_tokens),
        cost: money(each.cost_usd),
        errors: each.errors ? made("span", { className: "bad" }, count(each.errors)) : "",
      }));
      const heads = { trace: "trace", began: "began", root: "root", took: "took", number: "spans", spent: "tokens", cost: "cost", errors: "errors" };
      fill($("traces"), table(heads, rows), ...leftOut.map(empty));
    }
    this.listed = JSON.stringify(traces);
    this.spent(spent);
  }

  spent(spent) {
    if (!spent.length) return fill($("cost"), empty("By agent: nothing that was recorded has cost anything."));
    const rows = spent.map((each) => ({
      agent: each.agent ?? "–",
      model: each.model,
      number: count(each.calls),
      spent: tokens(each.input_tokens, each.output_tokens),
      cost: money(each.cost_usd),
    }));
    return fill($("cost"), table({ agent: "agent", model: "model or tool", number: "calls", spent: "tokens", cost: "cost" }, rows), empty("Of the traces that are kept."));
  }

  async open(id) {
    this.chosen = id;
    try {
      this.waterfall(await read(`/traces/${encodeURIComponent(id)}`));
    } catch (error) {
      say(error.message, true);
    }
  }

  waterfall({ trace_id: id, duration_s: duration, rows, more }) {
    const whole = Math.max(duration * 1e6, 1);
    const close = button("close", () => {
      this.chosen = "";
      fill($("trace"));
    });
    fill(
      $("trace"),
      made("div", { className: "title" }, made("h3", {}, `Trace ${id.slice(0, SHORT_ID)} · ${took(Math.round(whole))}`), close),
      made("ol", { className: "waterfall plain", tabIndex: 0 }, ...rows.map((row) => span(row, whole))),
      more ? empty(`and ${count(more)} more spans, which regrow trace ${id.slice(0, SHORT_ID)} --json has`) : null,
    );
    $("trace").scrollIntoView({ block: "nearest" });
  }
}

function span(row, whole) {
  const bar = made("span", { className: row.error ? "bar bad" : row.took_us === null ? "bar open" : "bar" });
  bar.style.setProperty("--from", Math.min(Math.max(row.from_us / whole, 0), 1));
  bar.style.setProperty("--took", Math.min((row.took_us ?? whole - row.from_us) / whole, 1));
  const facts = [
    row.took_us === null ? "no end" : took(row.took_us),
    row.input_tokens || row.output_tokens ? tokens(row.input_tokens, row.output_tokens) : "",
    row.cost_usd === null ? "" : money(row.cost_usd),
    row.again ? "again" : "",
    row.lost ? "its parent was not recorded" : "",
  ].filter(Boolean);
  const name = made("span", { className: "name", title: row.name }, row.name);
  const line = made("li", { title: row.attributes ?? "" }, name, made("span", { className: "facts" }, facts.join(" · ")), made("span", { className: "track" }, bar));
  line.style.setProperty("--depth", Math.min(row.depth, 12));
  if (row.error) line.append(made("span", { className: "why bad" }, row.error));
  return line;
}
