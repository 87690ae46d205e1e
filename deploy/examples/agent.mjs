/* An example agent for a container: budgets from the environment, every tool call through the gateway, no package to install.
   Node 18 or newer.

     node agent.mjs                                                    serves GET /health and POST /tasks
     node agent.mjs '{"plan": [[{"tool": "search.read", "arguments": {"q": "budgets"}}]]}'    runs one task and prints how it ended

   A task's plan stands in for the model: a list of steps, each a list of tool calls; `"repeat": true` goes through it for ever, as a
   model that has lost its way would. Replace `think` to put a model there. */

import { randomUUID } from "node:crypto";
import { realpathSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const env = process.env;
const TOOL_BASE_URL = (env.TOOL_BASE_URL ?? "http://127.0.0.1:8080").replace(/\/$/, "");
const MAX_STEPS = Number(env.AGENT_MAX_STEPS ?? 25);
const MAX_TOOL_CALLS = Number(env.AGENT_MAX_TOOL_CALLS ?? 12);
const MAX_SECONDS = Number(env.AGENT_MAX_SECONDS ?? 60);

/** The run ends here; its message is the stop reason. */
class Stop extends Error {}

/** One task, from its first step to its stop reason. */
class Run {
  id = `run-${randomUUID()}`;
  started = performance.now();
  steps = 0;
  toolCalls = 0;
  /** What the model would read next: each tool's answer, or why there is none. */
  observations = [];

  seconds() {
    return (performance.now() - this.started) / 1000;
  }

  /** Seconds left. Throws Stop where there are none. */
  remaining() {
    const left = MAX_SECONDS - this.seconds();
    if (left <= 0) throw new Stop("max_seconds");
    return left;
  }

  /** Announces a step, so that the gateway counts it too. */
  async step() {
    if (this.steps >= MAX_STEPS) throw new Stop("max_steps");
    heed(await post(`/_gateway/runs/${this.id}/steps`, {}, this.remaining()));
    this.steps += 1;
  }

  /** One use of a tool. Only what the gateway says to repeat after a while is repeated: all other retries are the gateway's. */
  async call(tool, args) {
    for (;;) {
      if (this.toolCalls >= MAX_TOOL_CALLS) throw new Stop("max_tool_calls");
      const answer = await post(`/runs/${this.id}/tools/${encodeURIComponent(tool)}`, args, this.remaining());
      heed(answer);
      this.toolCalls += 1;
      const wait = waitOf(answer);
      if (wait !== null && wait < this.remaining()) {
        await sleep(wait * 1000);
        continue;
      }
      const { problem, status, body } = answer;
      this.observations.push(
        problem ? { tool, refused: problem.reason, detail: problem.detail } : { tool, status, result: body },
      );
      return;
    }
  }

  /** Ends the run at the gateway, so that nothing can be called in its name any more. */
  async finish(stopReason) {
    try {
      await post(`/_gateway/runs/${this.id}/finish`, { stop_reason: stopReason }, 5);
    } catch (unreachable) {
      this.observations.push({ detail: `the gateway was not told that the run ended: ${unreachable.message}` });
    }
    const { id, steps, toolCalls, observations } = this;
    return { id, steps, tool_calls: toolCalls, observations, seconds: this.seconds(), stop_reason: stopReason };
  }
}

/** Runs a task to its end and says why it ended: finish, max_steps, max_tool_calls, max_seconds, or the gateway's stop_reason. */
export async function run_request(task) {
  const run = new Run();
  try {
    for (const calls of think(task, run.observations)) {
      await run.step();
      for (const call of calls) await run.call(call.tool, call.arguments ?? {});
    }
  } catch (stop) {
    if (!(stop instanceof Stop)) throw stop;
    return run.finish(stop.message);
  }
  return run.finish("finish");
}

/** The model: the tool calls of each next step. This one follows the task's plan and does not read its observations. */
function* think(task, _observations) {
  do yield* task.plan;
  while (task.repeat && task.plan.length > 0);
}

/** Throws Stop where the gateway says that the run should end. */
function heed({ problem }) {
  if (problem?.stop_reason) throw new Stop(problem.stop_reason);
}

/** Seconds after which the same call can succeed; null: do not repeat it. */
function waitOf({ problem, headers }) {
  const after = headers.get("retry-after") ?? "";
  if (headers.get("x-should-retry") === "false" || !problem?.retryable || !/^\d+$/.test(after)) return null;
  return Number(after);
}

/** The gateway's refusal or failure; null where the tool itself answered, even with an error of its own. */
function problemOf(response, body) {
  if (response.status < 400 || ["ok", "dedup", "tool_error"].includes(response.headers.get("tool-gateway-reason"))) return null;
  try {
    return Object(JSON.parse(body));
  } catch {
    return { detail: `HTTP ${response.status}` };
  }
}

/** One request to the gateway. There is no way round it: where it cannot be reached, the run stops. */
async function post(path, body, seconds) {
  try {
    const response = await fetch(TOOL_BASE_URL + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      redirect: "manual",
      signal: AbortSignal.timeout(Math.ceil(seconds * 1000)),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text, problem: problemOf(response, text) };
  } catch (error) {
    throw new Stop(error.name === "TimeoutError" ? "max_seconds" : "gateway_unreachable");
  }
}

/** GET /health for the platform, POST /tasks for work. */
async function answer(request, response) {
  const send = (status, body) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  if (request.method === "GET" && request.url === "/health") return send(200, { ok: true });
  if (request.method !== "POST" || request.url !== "/tasks") return send(404, { error: "GET /health or POST /tasks" });
  try {
    let text = "";
    for await (const piece of request.setEncoding("utf8")) text += piece;
    return send(200, await run_request(JSON.parse(text)));
  } catch {
    return send(400, { error: 'expected {"plan": [[{"tool": "…", "arguments": {}}]]}' });
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  if (process.argv.length > 2) {
    console.log(JSON.stringify(await run_request(JSON.parse(process.argv[2])), null, 2));
  } else {
    const server = createServer(answer);
    process.on("SIGTERM", () => process.exit(0));
    server.listen(Number(env.PORT ?? 8000), env.HOST ?? "127.0.0.1", () => {
      const { address, port } = server.address();
      console.log(`agent at http://${address}:${port}, tools at ${TOOL_BASE_URL}`);
    });
  }
}
