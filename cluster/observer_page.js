// The page: what the stream tells goes to its parts, and what somebody wants done goes to the server.

import { $, ask, button, made, put, say } from "./observer_elements.js";
import { Panels } from "./observer_panels.js";
import { Stream, hasToken, keepToken, order, takeToken } from "./observer_stream.js";
import { Traces } from "./observer_traces.js";
import { Tree } from "./observer_tree.js";
import { clock, count, money, span } from "./observer_words.js";

const PARTS = { tree: "Agents", waits: "Waiting", news: "Happened", quarantine: "Quarantine", letters: "Dead letters", traces: "Traces", cost: "Cost", hosts: "Hosts" };
const UP_EVERY_MS = 1_000;

const DEEDS = {
  restart: ["Restart", "good", "Restarting", () => "It is stopped in order, and started anew."],
  kill: ["Kill", "danger", "Killing", ({ restart }) => `It is not asked, and loses what it is doing; ${restart === "temporary" ? "nobody starts it again." : "its supervisor starts it again."}`],
};

const numbers = new Map(Object.keys(PARTS).map((name) => [name, made("span", { className: "number" })]));
for (const [name, text] of Object.entries(PARTS)) $("parts").append(made("a", { href: `#${name}-panel` }, text, " ", numbers.get(name)));

let app = {};
let lostAt = null;

/** Gives an order, says how it goes and went, and gives what came of it; null where it failed. */
async function ordered(asked, doing = "") {
  try {
    if (doing) say(`${doing} …`);
    const told = await order(asked);
    if (told.text) say(told.text);
    return told;
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

async function deed(what, agent, row) {
  const [text, className, doing, consequence] = DEEDS[what];
  if (await ask(`${text} ${agent}?`, [made("p", {}, consequence(row))], [[text, "yes", className]])) await ordered({ do: what, agent }, `${doing} ${agent}`);
}

const panels = new Panels(ordered);
const traces = new Traces();
const stream = new Stream(onFrame, onState);
const tree = new Tree((view) => stream.show(view), deed);

function onFrame(frame, told) {
  const isOther = "may_act" in told;
  if (told.app || isOther) head(frame.parts);
  if (told.tree || isOther) tree.show(frame, isOther || told.tree?.order ? null : Object.keys(told.tree?.rows ?? {}));
  panels.show(frame.parts, told);
  const { agents, waits, quarantine, letters, news, metrics } = frame.parts;
  number("tree", agents);
  number("waits", waits?.rows?.length, true);
  number("quarantine", quarantine?.rows?.length, true);
  number("letters", letters?.total);
  number("news", news?.length);
  number("hosts", metrics?.hosts?.filter((host) => host.alive).length);
  put(numbers.get("cost"), metrics?.total?.cost_usd ? money(metrics.total.cost_usd) : "");
  const waiting = waits?.rows?.length ? `(${count(waits.rows.length)}) ` : "";
  document.title = `${waiting}${app.app} · Regrow`;
}

function number(name, value, isUrgent = false) {
  put(numbers.get(name), value ? count(value) : "");
  numbers.get(name).classList.toggle("urgent", isUrgent && value > 0);
}

function head({ app: told, may_act: mayAct }) {
  app = told;
  put($("app"), app.app);
  state(app.state);
  up();
  put($("may"), mayAct ? "can act" : "read only");
  $("may").classList.toggle("good", mayAct);
  note(app.note ?? (app.state === "not running" ? `${app.app} does not run. Start it with regrow run; this page goes on by itself.` : ""));
}

function up() {
  const facts = [app.engine === "ray" ? "on Ray" : app.engine, app.pid && `pid ${app.pid}`, app.started_at && `up ${span((Date.now() - new Date(app.started_at)) / 1_000)}`];
  if (lostAt === null) put($("about"), facts.filter(Boolean).join(" · "));
}

function state(text) {
  put($("state"), text);
  $("state").className = `state pill ${text.replaceAll(" ", "-")}`;
}

function note(text) {
  $("note").hidden = !text;
  put($("note"), text);
}

function onState({ is, why }) {
  const { classList } = document.body;
  classList.toggle("locked", is === "locked");
  classList.toggle("stale", is === "lost" || is === "refused");
  put($("token"), hasToken() ? "Forget token" : "Enter token");
  if (is === "live") {
    lostAt = null; // what a stream tells first has all that is said above the page
    return;
  }
  lostAt ??= Date.now();
  state({ lost: "not connected", refused: "refused", locked: "locked" }[is]);
  note(is === "lost" ? `The observer does not answer since ${clock(lostAt)}; what is shown is from before. It is tried again and again.` : why);
}

async function enter() {
  const typed = made("input", { type: "password", autocomplete: "off", "aria-label": "token" });
  typed.addEventListener("keydown", ({ key }) => key === "Enter" && $("dialog-buttons").firstChild.click());
  if (!(await ask("The token of this observer", [made("p", {}, "It stands in the link that regrow observe has printed, behind #token=."), typed], [["Use it", "yes", "good"]]))) return;
  keepToken(typed.value.trim());
  stream.show(tree.view());
}

function forget() {
  keepToken("");
  stream.show(tree.view());
}

$("token").addEventListener("click", () => (hasToken() ? forget() : enter()));
$("locked").append(button("Enter token", enter, "good"));
addEventListener("hashchange", () => takeToken() && stream.show(tree.view()));
setInterval(up, UP_EVERY_MS);
takeToken();
stream.show(tree.view());
traces.look();
