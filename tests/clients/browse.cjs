// A browser under Playwright: node browse.cjs BROWSER PROXY USER PASSWORD URL…. Prints one JSON line: for each URL {status, text} or {error}.
const { chromium } = require("playwright-core");
const [executablePath, server, username, password, ...urls] = process.argv.slice(2);

async function visit(context, url) {
  const page = await context.newPage();
  try {
    const answer = await page.goto(url);
    return { status: answer.status(), text: await answer.text() };
  } catch (error) {
    return { error: error.message };
  }
}

(async () => {
  const browser = await chromium.launch({ executablePath, proxy: { server, username, password } });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const seen = [];
  for (const url of urls) seen.push(await visit(context, url));
  console.log(JSON.stringify(seen));
  await browser.close();
})();
