// Numbers, times and money as people read them. Pure; `now` is handed in by tests.

/** A whole number with its thousands apart. */
export const count = (number) => Number(number ?? 0).toLocaleString("en");

/** So many of a thing: `1 agent`, `2 agents`. */
export const of = (number, thing) => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;

/** Dollars: four places of less than one, since a call of a model costs a part of a cent. */
export function money(usd) {
  if (usd === null || usd === undefined) return "–";
  if (usd === 0) return "$0";
  if (usd < 0.0001) return "< $0.0001";
  return usd < 1 ? `$${usd.toFixed(4)}` : `$${usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export const tokens = (input, output) => (input || output ? `${count(input)} → ${count(output)}` : "–");

/** A duration in µs. */
export function took(us) {
  if (us < 1_000) return `${us} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toFixed(1)} ms`;
  if (us < 120_000_000) return `${(us / 1_000_000).toFixed(2)} s`;
  return span(us / 1_000_000);
}

/** Seconds in the two largest units that they have: `45 s`, `2 min 5 s`, `3 h 20 min`, `6 d 4 h`. */
export function span(seconds) {
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  const told = [];
  let left = seconds;
  for (const [size, unit] of units.slice(first, first + 2)) {
    if (Math.floor(left / size)) told.push(`${Math.floor(left / size)} ${unit}`);
    left %= size;
  }
  return told.join(" ");
}

/** How far off a time is: `2 min 5 s ago`, `in 6 d 4 h`. */
export function distance(iso, now = Date.now()) {
  const seconds = (now - new Date(iso)) / 1_000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** The time of day, with its date where that is another day. */
export function clock(time, now = Date.now()) {
  const at = new Date(time);
  const day = at.toDateString() === new Date(now).toDateString() ? "" : `${at.toLocaleDateString("en", { month: "short", day: "numeric" })} `;
  return `${day}${at.toLocaleTimeString("en", { hour12: false })}`;
}

/** The last part of an id or of the name of a type. */
export const last = (name, sign) => name.slice(name.lastIndexOf(sign) + 1);
