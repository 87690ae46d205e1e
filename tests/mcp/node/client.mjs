// An MCP client of npm's, told what to do line by line: `node client.mjs v1|v2 2025|2026 URL HEADERS`. One JSON line a request
// ({id, op, …}) and one an answer ({id, …}), in the order in which they are done; {told: "progress", …} in between.
import { createInterface } from "node:readline";

const [library, wire, url, headers] = process.argv.slice(2);
const requestInit = { headers: JSON.parse(headers) };
const capabilities = { elicitation: {}, sampling: {} };
const self = { name: "test", version: "1" };
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const answered = { action: "accept", content: { colour: "green" } };
const said = { role: "assistant", content: { type: "text", text: "hello" }, model: "m", stopReason: "endTurn" };
const reconnectionOptions = { initialReconnectionDelay: 20, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 5 };

async function connected() {
  const v1 = library === "v1";
  const { Client } = await import(v1 ? "@modelcontextprotocol/sdk/client/index.js" : "@modelcontextprotocol/client");
  const { StreamableHTTPClientTransport } = v1
    ? await import("@modelcontextprotocol/sdk/client/streamableHttp.js")
    : await import("@modelcontextprotocol/client");
  const mode = wire === "2026" ? "auto" : "legacy";
  const client = new Client(self, v1 ? { capabilities } : { capabilities, versionNegotiation: { mode } });
  if (v1) {
    const { ElicitRequestSchema, CreateMessageRequestSchema } = await import("@modelcontextprotocol/sdk/types.js");
    client.setRequestHandler(ElicitRequestSchema, async () => answered);
    client.setRequestHandler(CreateMessageRequestSchema, async () => said);
  } else {
    client.setRequestHandler("elicitation/create", async () => answered);
    client.setRequestHandler("sampling/createMessage", async () => said);
  }
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit, reconnectionOptions });
  await client.connect(transport);
  return { client, transport, v1 };
}

const { client, transport, v1 } = await connected();
const stops = new Map();

const operations = {
  list: async () => (await client.listTools({}, v1 ? undefined : { cacheMode: "refresh" })).tools.map((tool) => tool.name),
  call: async ({ id, name, arguments: given, timeout }) => {
    const stop = new AbortController();
    stops.set(id, stop);
    const options = { signal: stop.signal, onprogress: ({ progress }) => say({ told: "progress", id, progress }) };
    if (timeout) options.timeout = timeout * 1000;
    const params = { name, arguments: given };
    return v1 ? await client.callTool(params, undefined, options) : await client.callTool(params, options);
  },
  stop: async ({ call }) => stops.get(call).abort("not needed any more"),
  end: async () => {
    if (wire === "2025") await transport.terminateSession();
    await client.close();
    process.stdin.pause();
  },
};

say({ told: "ready" });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  operations[request.op](request)
    .then((result) => say({ id: request.id, result: result ?? null }))
    .catch((error) => say({ id: request.id, error: String(error?.message ?? error) }));
}
