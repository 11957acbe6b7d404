// Traces: a list of the latest, one as a waterfall, and what agents have spent.

import { $, List, Table, button, fill, made, remark, say } from "./observer_elements.js";
import { read } from "./observer_stream.js";
import { clock, count, last, money, of, tokens, took } from "./observer_words.js";

const EVERY_MS = 5_000;
const SHORT_ID = 12;
const DEPTH_SHOWN = 12;
const TICKS = 4;
const TRACES = { trace: "trace", began: "began", root: "root", took: "took", number: "spans", spent: "tokens", cost: "cost", errors: "errors" };
const SPENT = { agent: "agent", model: "model or tool", number: "calls", spent: "tokens", cost: "cost" };
const SWITCH_ON = "Nothing is recorded here yet. If tracing is off, switch it on with [tracing] enabled = true in regrow.toml; and start this page from the folder of the app, or with --config.";

export class Traces {
  constructor() {
    this.inSight = false;
    this.list = new Table($("traces"), TRACES, (each) => each.trace_id, (each) => this.cells(each));
    this.spent = new Table($("cost"), SPENT, ({ agent, model }) => `${agent} ${model}`, spentCells);
    this.waterfall = new List($("spans"), (row) => row.id, span);
    $("trace-close").addEventListener("click", () => ($("trace").hidden = true));
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
      this.show(await read("/traces"));
    } catch (error) {
      remark("traces", error.message);
    }
  }

  show({ traces, left_out: leftOut, spent, recorded }) {
    this.list.show(traces);
    remark("traces", traces.length ? leftOut.join(" ") : recorded ? "No trace has been recorded yet." : SWITCH_ON);
    this.spent.show(spent);
    remark("cost", spent.length ? "By agent, of the traces that are kept." : "By agent: nothing that was recorded has cost anything.");
  }

  cells(each) {
    return {
      trace: button(each.trace_id.slice(0, SHORT_ID), () => this.open(each.trace_id), "link"),
      began: clock(each.start_ns / 1e6),
      root: each.root,
      number: count(each.spans),
      took: took(Math.round(each.duration_s * 1e6)),
      spent: tokens(each.input_tokens, each.output_tokens),
      cost: money(each.cost_usd),
      errors: each.errors ? made("span", { className: "bad" }, count(each.errors)) : "",
    };
  }

  async open(id) {
    try {
      this.draw(await read(`/traces/${encodeURIComponent(id)}`));
    } catch (error) {
      say(error.message, true);
    }
  }

  draw({ trace_id: id, duration_s: duration, rows, more }) {
    const whole = Math.max(duration * 1e6, 1);
    $("trace").hidden = false;
    fill($("trace-title"), `Trace ${id.slice(0, SHORT_ID)} · ${took(Math.round(whole))} · ${of(rows.length + more, "span")}`);
    fill($("axis"), ...Array.from({ length: TICKS }, (_, place) => made("span", {}, took(Math.round((whole * place) / TICKS)))));
    this.waterfall.show(rows.map((row) => ({ ...row, whole })));
    remark("trace", more ? `${count(more)} more are not shown: regrow trace ${id.slice(0, SHORT_ID)} --json has them.` : "");
    $("trace").scrollIntoView({ block: "nearest" });
  }
}

const spentCells = (each) => ({
  agent: each.agent ?? "–",
  model: each.model,
  number: count(each.calls),
  spent: tokens(each.input_tokens, each.output_tokens),
  cost: money(each.cost_usd),
});

function span({ whole, ...row }) {
  const bar = made("span", { className: row.error ? "bar bad" : row.took_us === null ? "bar open" : "bar" });
  bar.style.setProperty("--from", Math.min(Math.max(row.from_us / whole, 0), 1));
  bar.style.setProperty("--took", Math.min((row.took_us ?? whole - row.from_us) / whole, 1));
  const facts = [
    row.input_tokens || row.output_tokens ? tokens(row.input_tokens, row.output_tokens) : "",
    row.cost_usd === null ? "" : money(row.cost_usd),
    row.again ? "again" : "",
    row.lost ? "its parent was not recorded" : "",
  ].filter(Boolean);
  const name = made("span", { className: "name", title: row.name });
  const line = made("li", {}, name, made("span", { className: "facts" }, facts.join(" · ")), made("span", { className: "took" }, row.took_us === null ? "no end" : took(row.took_us)), made("span", { className: "track" }, bar));
  line.style.setProperty("--depth", Math.min(row.depth, DEPTH_SHOWN));
  if (row.error) line.append(made("span", { className: "why bad" }, row.error));
  name.append(row.attributes ? opener(row, line) : row.name);
  return line;
}

/** The name of a span that shows and hides its attributes. */
function opener(row, line) {
  const told = made("pre", { hidden: true, tabIndex: 0, "aria-label": `attributes of ${last(row.name, "/")}` }, attributes(row.attributes));
  const toggle = button(row.name, () => {
    told.hidden = !told.hidden;
    toggle.ariaExpanded = !told.hidden;
  }, "plain-link");
  toggle.ariaExpanded = false;
  line.append(told);
  return toggle;
}

/** A line for each attribute; what was cut off by the server is shown as it is. */
function attributes(text) {
  try {
    return Object.entries(JSON.parse(text)).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n");
  } catch {
    return text;
  }
}
