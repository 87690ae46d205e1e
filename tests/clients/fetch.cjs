// Node's fetch, as a program uses it: node fetch.cjs HOW URL METHOD BODY PROXY, where HOW is "environment" (Node does it by itself),
// or the name of one of undici's agents. Prints one JSON line: {status, body}, or {error}.
const [how, url, method, body, proxy] = process.argv.slice(2);

function everyMessage(error) {
  return [error.message, error.code, ...(error.cause ? [everyMessage(error.cause)] : [])].filter(Boolean).join(": ");
}

async function exchange() {
  const undici = how === "environment" ? globalThis : require("undici");
  const agents = { ProxyAgent: () => (proxy ? new undici.ProxyAgent(proxy) : undefined), EnvHttpProxyAgent: () => new undici.EnvHttpProxyAgent() };
  const dispatcher = agents[how]?.();
  const answer = await undici.fetch(url, { method, body: body || undefined, dispatcher });
  return { status: answer.status, body: await answer.text() };
}

exchange().catch((error) => ({ error: everyMessage(error) })).then((line) => {
  console.log(JSON.stringify(line));
  process.exit();
});
