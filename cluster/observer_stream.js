// What the server tells, and what it is asked: one stream of changes, which begins anew when it breaks, and requests.

import { change, events, noFrame } from "./observer_frame.js";

const KEY = "regrow-token";
const AGAIN_MS = 1_000;
const AGAIN_LIMIT_MS = 10_000;
const SILENT_MS = 40_000; // the server says something each 15 s; after a sleep of this machine nobody tells us that it has gone
const LISTEN_EVERY_MS = 2_000;
const NO_ANSWER = "The observer does not answer; is it still running?";

/** Takes the token out of the address, where it would be seen, and keeps it for this tab. Whether there was one. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return false;
  keepToken(given);
  history.replaceState(null, "", location.pathname);
  return true;
}

export const hasToken = () => sessionStorage.getItem(KEY) !== null;

/** From now on this is the token; an empty one is none. */
export function keepToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** The JSON that is at this address. Throws what the server says of why it is not there. */
export const read = (address) => answered(address, {});

/** What came of an order. Throws what the server says of why nothing did. */
export const order = (asked) => answered("/orders", { method: "POST", body: JSON.stringify(asked) });

async function answered(address, request) {
  const answer = await fetch(address, { ...request, headers: { ...headers(), "Content-Type": "application/json" } }).catch(() => {
    throw new Error(NO_ANSWER);
  });
  if (!answer.ok) throw new Error(await whyNot(answer));
  return answer.json();
}

/** Why there is no better answer. A server that is too busy for one has a status and no sentence. */
async function whyNot(answer) {
  const told = await answer.json().catch(() => ({}));
  return told.error ?? (answer.status === 503 ? "The observer has too much to do; it is tried again." : `The observer answered with status ${answer.status}.`);
}

/** The stream of one page: `onFrame` gets the frame after each change, `onState` how the connection is. */
export class Stream {
  constructor(onFrame, onState) {
    this.onFrame = onFrame;
    this.onState = onState;
    this.view = new URLSearchParams();
    this.stop = new AbortController();
    this.cut = new AbortController();
    this.heard = Date.now();
    setInterval(() => {
      if (Date.now() - this.heard > SILENT_MS) this.cut.abort();
    }, LISTEN_EVERY_MS);
  }

  /** Shows another view, from now on. */
  show(view) {
    this.view = view;
    this.stop.abort();
    this.cut.abort();
    this.stop = new AbortController();
    this.run(this.stop.signal);
  }

  async run(signal) {
    for (let pause = AGAIN_MS; !signal.aborted; pause = Math.min(pause * 2, AGAIN_LIMIT_MS)) {
      this.cut = new AbortController();
      this.heard = Date.now();
      try {
        const answer = await fetch(`/events?${this.view}`, { headers: headers(), signal: this.cut.signal });
        if (answer.ok) {
          pause = AGAIN_MS;
          await this.take(answer.body, signal);
        } else {
          const why = await whyNot(answer);
          if (signal.aborted) return;
          this.onState({ is: answer.status === 401 ? "locked" : "refused", why });
          if (answer.status === 401 || answer.status === 400) return; // the same would come again
        }
        if (signal.aborted) return;
        if (answer.ok) this.onState({ is: "lost", why: "" });
      } catch {
        if (signal.aborted) return;
        this.onState({ is: "lost", why: "" });
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async take(body, signal) {
    const frame = noFrame();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      this.heard = Date.now();
      const [told, left] = events(rest + value);
      rest = left;
      for (const each of told) {
        change(frame, each);
        this.onState({ is: "live", why: "" });
        this.onFrame(frame, each);
      }
    }
  }
}
