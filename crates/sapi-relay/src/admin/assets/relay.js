// What the page asks of the admin server.

/** The server wants a token. */
export class Locked extends Error {}

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 401 && path !== "/v1/session") throw new Locked("a token is needed");
  if (!answer.ok) throw new Error((await answer.text()).trim() || `${path} answered ${answer.status}`);
  return answer;
}

async function post(path, body) {
  return ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
}

/** What the dashboard draws; gaps only where there are newer ones than `seen`. */
export async function overview(seen) {
  const query = seen ? `?${new URLSearchParams({ seen })}` : "";
  return (await ask(`/v1/overview${query}`, { signal: AbortSignal.timeout(10000) })).json();
}

/** A page of dead letters. */
export async function deadLetters(query) {
  return (await ask(`/v1/dead-letters?${new URLSearchParams(query)}`)).json();
}

/** Delivers dead letters again, out of order: `{id}` or `{sink}`. */
export async function retry(wish) {
  return (await post("/v1/dead-letters/retry", wish)).json();
}

/** Pauses or resumes a sink. */
export async function steer(sink, verb) {
  return (await post(`/v1/sinks/${encodeURIComponent(sink)}/${verb}`, {})).json();
}

export const login = (token) => post("/v1/session", { token });
export const logout = () => ask("/v1/session", { method: "DELETE" });

/** Why the live tail can't be had. */
export async function refusal(path) {
  const stop = new AbortController();
  const answer = await fetch(path, { signal: stop.signal });
  if (answer.status === 401) throw new Locked("a token is needed");
  const text = answer.ok ? "" : (await answer.text()).trim();
  stop.abort();
  return text;
}
