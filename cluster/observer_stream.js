// What the server tells, and what it is asked: one stream of changes, which begins anew when it breaks, and requests.

const KEY = "regrow-token";
const AGAIN_MS = 1_000;
const AGAIN_LIMIT_MS = 10_000;

/** Takes the token out of the address, where it would be seen, and keeps it for this tab. */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
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
export async function read(address) {
  return opened(await fetch(address, { headers: headers() }));
}

/** What came of an order. Throws what the server says of why nothing did. */
export async function order(asked) {
  return opened(await fetch("/orders", { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: JSON.stringify(asked) }));
}

async function opened(answer) {
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
  return told;
}

/** The stream of one page: `onFrame` gets the frame after each change, `onState` how the connection is. */
export class Stream {
  constructor(onFrame, onState) {
    this.onFrame = onFrame;
    this.onState = onState;
    this.view = new URLSearchParams();
    this.stop = new AbortController();
  }

  /** Shows another view, from now on. */
  show(view) {
    this.view = view;
    this.stop.abort();
    this.stop = new AbortController();
    this.run(this.stop.signal);
  }

  async run(signal) {
    for (let pause = AGAIN_MS; !signal.aborted; pause = Math.min(pause * 2, AGAIN_LIMIT_MS)) {
      try {
        const answer = await fetch(`/events?${this.view}`, { headers: headers(), signal });
        if (!answer.ok) {
          const told = await answer.json();
          this.onState({ is: answer.status === 401 ? "locked" : "refused", why: told.error });
          if (answer.status === 401 || answer.status === 400) return; // the same would come again
        } else {
          pause = AGAIN_MS;
          await this.take(answer.body, signal);
          this.onState({ is: "lost", why: "" });
        }
      } catch (error) {
        if (signal.aborted) return;
        this.onState({ is: "lost", why: "" });
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async take(body, signal) {
    const frame = { parts: {}, rows: new Map(), order: [] };
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ")) continue;
        const told = JSON.parse(event.slice(6));
        change(frame, told);
        this.onState({ is: "live", why: "" });
        this.onFrame(frame, told);
      }
    }
  }
}

/** Brings a frame to where the server is: rows by their fields, every other part as a whole. */
function change(frame, { tree = {}, ...parts }) {
  Object.assign(frame.parts, parts);
  for (const [id, fields] of Object.entries(tree.rows ?? {})) frame.rows.set(id, { ...frame.rows.get(id), ...fields });
  for (const id of tree.gone ?? []) frame.rows.delete(id);
  if (tree.order) frame.order = tree.order;
}
