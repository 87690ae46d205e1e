// The admin API: requests with the token, and calls as they end. The token stays in this tab, and in no URL.

const KEPT = "tool-gateway admin token";
let token = sessionStorage.getItem(KEPT) ?? "";

export const hasToken = () => token !== "";

export function setToken(text) {
  token = text.trim();
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

/** What the gateway refused, with its sentence; `status` 0: it was not reached. */
export class Problem extends Error {
  constructor(status, detail, body = {}) {
    super(detail);
    this.status = status;
    this.body = body;
  }
}

async function request(method, path, { body, headers = {}, signal } = {}) {
  const given = { ...headers, Authorization: `Bearer ${token}` };
  if (body !== undefined) given["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers: given, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch {
    throw new Problem(0, "The gateway does not answer.");
  }
  if (answer.ok) return answer;
  const told = await read(answer).catch(() => ({}));
  if (answer.status === 401) document.dispatchEvent(new CustomEvent("unauthenticated", { detail: told.detail }));
  throw new Problem(answer.status, told.detail ?? `The gateway answers ${answer.status}.`, told);
}

/** Nothing that hides, or turns around what stands beside it: names are their callers' to make up. */
const visible = (_, value) => (typeof value === "string" ? value.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, written) : value);
const written = (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`;
const parsed = (text) => JSON.parse(text, visible);
const read = async (answer) => parsed(await answer.text());

export const get = async (path) => read(await request("GET", path));
export const post = async (path, body) => read(await request("POST", path, { body }));
export const remove = async (path) => read(await request("DELETE", path));

/** The filters that are set, as a query. */
export function query(filters, more = {}) {
  const set = Object.entries({ ...filters, ...more }).filter(([, value]) => value !== "" && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}

/**
 * Follows calls as they end until `stop()`, also where the gateway cannot be reached for a while. `begun(calls)` gets those that are kept,
 * `limit` of them at most, `told(calls)` those that end from then on, both in the order in which they ended; `lost(n)` how many were not
 * told (null: nobody knows), `trouble(text)` why nothing is, "" when that is over, `refused(text)` that the filters are none.
 */
export function follow(filters, limit, { begun, told, lost, trouble, refused }) {
  const ended = new AbortController();
  const { signal } = ended;
  const list = `/v1/calls${query(filters, { limit })}`;
  const stream = `/v1/calls/stream${query(filters)}`;
  let after;
  const events = {
    call: (data, id) => { after = id; told([data]); },
    lost: (data) => lost(data.lost),
  };
  const begin = async () => {
    const { calls } = await read(await request("GET", list, { signal }));
    after = calls[0]?.call_id;
    begun(calls.reverse());
  };
  const goOn = async () => {
    const answer = await request("GET", stream, { headers: after ? { "Last-Event-ID": after } : {}, signal });
    trouble("");
    await hear(answer.body, events);
  };
  (async () => {
    while (!signal.aborted) {
      try {
        if (!after) await begin();
        await goOn();
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
        if (error.status === 400) return refused(error.message);
        trouble(error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  })();
  return { stop: () => ended.abort() };
}

/** Server-sent events: blocks of lines, an empty one between them. */
async function hear(stream, events) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) tell(block, events);
  }
}

function tell(block, events) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.event in events) events[fields.event](parsed(fields.data), fields.id);
}
