// MCP clients of npm's, told what to do line by line. A request is one JSON line ({id, op, …}) and so is its answer ({id, result} or
// {id, error}), in the order in which they are done; {told: id, progress} in between. `connect` gives a client's number for the rest.
import { createInterface } from "node:readline";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";

const self = { name: "test", version: "1" };
const capabilities = { elicitation: {}, sampling: {} };
const answered = { action: "accept", content: { colour: "green" } };
const said = { role: "assistant", content: { type: "text", text: "hello" }, model: "m", stopReason: "endTurn" };
const reconnectionOptions = { initialReconnectionDelay: 20, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 5 };

const CONNECTIONS = Symbol.for("undici.globalDispatcher.1");
const clients = [];
const stops = new Map();
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function clientV1() {
  const client = new ClientV1(self, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, async () => answered);
  client.setRequestHandler(CreateMessageRequestSchema, async () => said);
  return client;
}

function clientV2(wire) {
  const mode = wire === "2026" ? "auto" : "legacy";
  const client = new ClientV2(self, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler("elicitation/create", async () => answered);
  client.setRequestHandler("sampling/createMessage", async () => said);
  return client;
}

const operations = {
  connect: async ({ library, wire, url, headers }) => {
    const v1 = library === "v1";
    const client = v1 ? clientV1() : clientV2(wire);
    const transport = new (v1 ? TransportV1 : TransportV2)(new URL(url), { requestInit: { headers }, reconnectionOptions });
    await client.connect(transport);
    return clients.push({ client, v1 }) - 1;
  },
  list: async ({ number }) => {
    const { client, v1 } = clients[number];
    return (await client.listTools({}, v1 ? undefined : { cacheMode: "use" })).tools.map((tool) => tool.name);
  },
  call: async ({ number, id, name, arguments: given, within }) => {
    const { client, v1 } = clients[number];
    const stop = new AbortController();
    stops.set(id, stop);
    const options = { signal: stop.signal, onprogress: ({ progress }) => say({ told: id, progress }) };
    if (within) options.timeout = within * 1000;
    const params = { name, arguments: given };
    return v1 ? await client.callTool(params, undefined, options) : await client.callTool(params, options);
  },
  stop: async ({ call }) => stops.get(call).abort("not needed any more"),
  end: async ({ number }) => {
    await clients[number].client.close();
    const used = globalThis[CONNECTIONS]; // fetch keeps them for seconds, and a gateway that stops would wait for them
    globalThis[CONNECTIONS] = new used.constructor();
    await used.destroy();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  operations[request.op](request)
    .then((result) => say({ id: request.id, result: result ?? null }))
    .catch((error) => say({ id: request.id, error: String(error?.message ?? error) }));
}
process.exit();
