// The page: what the stream tells goes to its parts, and what somebody wants done goes to the server.

import { $, ask, clock, count, fill, made, put, say, since } from "./observer_elements.js";
import { Panels } from "./observer_panels.js";
import { Stream, hasToken, keepToken, order, takeToken } from "./observer_stream.js";
import { Traces } from "./observer_traces.js";
import { Tree } from "./observer_tree.js";

const PARTS = { tree: "Tree", waits: "Waiting", news: "Happened", quarantine: "Quarantine", letters: "Dead letters", traces: "Traces", cost: "Cost" };

const links = new Map(Object.entries(PARTS).map(([name, text]) => [name, { text, number: made("span", { className: "number" }) }]));
for (const [name, { text, number }] of links) $("parts").append(made("a", { href: `#${name}-panel` }, text, " ", number));

/** Gives an order, says how it went, and gives what came of it; null where it failed. */
async function ordered(asked) {
  try {
    const told = await order(asked);
    if (told.text) say(told.text);
    return told;
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

async function deed(what, agent) {
  const says = what === "kill" ? "It is not asked, and loses what it is doing; its supervisor starts it again." : "It is stopped in order, and started anew.";
  if (await ask(`${what === "kill" ? "Kill" : "Restart"} ${agent}?`, [made("p", {}, says)], [[what, "yes", what === "kill" ? "danger" : "good"]])) {
    ordered({ do: what, agent });
  }
}

const panels = new Panels(ordered);
const traces = new Traces();
const stream = new Stream(onFrame, onState);
const tree = new Tree((view) => stream.show(view), deed);

function onFrame(frame, told) {
  if (told.app || "may_act" in told) head(frame.parts);
  if (told.tree || "may_act" in told) tree.show(frame, "may_act" in told || told.tree?.order ? null : Object.keys(told.tree?.rows ?? {}));
  panels.show(frame.parts, told);
  const { waits, quarantine, letters, news } = frame.parts;
  const root = frame.rows.get(frame.order[0]);
  number("tree", root?.below?.agents);
  number("waits", waits?.rows?.length, true);
  number("quarantine", quarantine?.rows?.length, true);
  number("letters", letters?.total);
  number("news", news?.length);
}

function number(name, value, isUrgent = false) {
  const element = links.get(name).number;
  put(element, value ? count(value) : "");
  element.classList.toggle("urgent", isUrgent && value > 0);
}

function head({ app, may_act: mayAct }) {
  document.title = `${app.app} · Regrow`;
  put($("app"), app.app);
  put($("state"), app.state);
  $("state").className = `state ${app.state.replaceAll(" ", "-")}`;
  const facts = [app.engine, app.pid ? `pid ${app.pid}` : "", app.started_at ? `for ${since(app.started_at)}` : ""];
  put($("about"), facts.filter(Boolean).join(" · "));
  put($("may"), mayAct ? "may act" : "read only");
  put($("token"), hasToken() ? "Forget token" : "Enter token");
  note(app.note ?? (app.state === "not running" ? `${app.app} does not run. What it shows is shown again when it does.` : ""));
}

function note(text) {
  $("note").hidden = !text;
  put($("note"), text);
}

function onState({ is, why }) {
  document.body.classList.toggle("stale", is !== "live");
  if (is === "live") return;
  put($("state"), { lost: "not connected", refused: "refused", locked: "locked" }[is]);
  $("state").className = "state bad";
  note(is === "lost" ? `The observer does not answer since ${clock(Date.now())}; what is shown is from before. It is tried again.` : why);
  put($("token"), hasToken() ? "Forget token" : "Enter token");
}

async function token() {
  if (hasToken()) keepToken("");
  else {
    const typed = made("input", { type: "password", autocomplete: "off", "aria-label": "token" });
    if (!(await ask("The token of this observer", [made("p", {}, "It stands in the link that regrow observe has printed."), typed], [["use it", "yes", "good"]]))) return;
    keepToken(typed.value.trim());
  }
  stream.show(tree.view());
}

$("token").addEventListener("click", token);
takeToken();
fill($("about"), "");
stream.show(tree.view());
traces.look();
