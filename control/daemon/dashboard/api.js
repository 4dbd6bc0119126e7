// Questions and changes to weir's API. The token is kept here, in memory, and nowhere else.

let token = null;
/** What weir says about changes over HTTP if it takes none at all. */
let closed = null;
const waiting = new Set();

export const hasToken = () => token !== null;
export const isClosed = () => closed;
export const onToken = (listener) => waiting.add(listener);

export function setToken(text) {
  token = text || null;
  closed = null;
  for (const listener of waiting) listener();
}

/** weir has no file of a token, or does not take this one: the page asks for it again. */
function forgetToken(refused) {
  token = null;
  closed = refused.status === 403 ? refused.message : null;
  for (const listener of waiting) listener();
}

/** An answer that is no: what weir says, and what to do about it. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.message ?? `weir answered with status ${status}`);
    Object.assign(this, { status, code: problem.code ?? "failed", hint: problem.hint ?? "" });
  }
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new Refused(0, { message: "weir does not answer", hint: "does it run, and is this page's address still right?" });
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export const get = (path) => answer(`/api/v1/${path}`, { headers: { Accept: "application/json" } });

/** Asks for a change; `flags` are its parameters beside `query`, `version` the one that it was looked at with. */
export async function change({ method, path, query: pairs = [], body }, flags, version) {
  const headers = { Authorization: `Bearer ${token ?? ""}` };
  if (body) headers["Content-Type"] = "application/json";
  if (version) headers["If-Match"] = `"${version}"`;
  const query = [...pairs, ...Object.entries(flags ?? {}).filter(([, on]) => on)].map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const target = `/api/v1/${path}${query.length ? `?${query.join("&")}` : ""}`;
  try {
    return await answer(target, { method, headers, body: body ? JSON.stringify(body) : undefined });
  } catch (refused) {
    if (refused.status === 401 || refused.status === 403) forgetToken(refused);
    throw refused;
  }
}
