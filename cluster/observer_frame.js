// What a page knows of its app, put together of what it is told. Pure: the other side is `observer_frames.py`.

/** A page that has been told nothing. */
export const noFrame = () => ({ parts: {}, rows: new Map(), order: [] });

/** Brings a frame to where the server is: rows by their fields, every other part as a whole. */
export function change(frame, { tree = {}, ...parts }) {
  Object.assign(frame.parts, parts);
  for (const [id, fields] of Object.entries(tree.rows ?? {})) frame.rows.set(id, { ...frame.rows.get(id), ...fields });
  for (const id of tree.gone ?? []) frame.rows.delete(id);
  if (tree.order) frame.order = tree.order;
}

/** The whole events in a text, and what stands behind the last of them. */
export function events(text) {
  const found = text.split("\n\n");
  const rest = found.pop();
  return [found.filter((event) => event.startsWith("data: ")).map((event) => JSON.parse(event.slice(6))), rest];
}
