// One page of a browser under Playwright, told what to do a line at a time: node page.cjs BROWSER. Each line is [word, …arguments], and is
// answered with {"got": …} or {"failed": …}.
const { createInterface } = require("node:readline");
const { chromium } = require("playwright-core");

const PATIENCE = 10000;

(async () => {
  const browser = await chromium.launch({ executablePath: process.argv[2] });
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light", reducedMotion: "reduce" });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const complaints = [];
  const asked = new Set();
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && complaints.push(said.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => asked.add(new URL(request.url()).origin));

  const named = (role, name, within = "body") => page.locator(within).getByRole(role, { name }).first();
  const ways = {
    go: async (url) => (await page.goto(url)).status(),
    click: (role, name, within) => named(role, name, within).click(),
    fill: (role, name, text, within) => named(role, name, within).fill(text),
    choose: (role, name, value, within) => named(role, name, within).selectOption(value),
    press: (key) => page.keyboard.press(key),
    type: (text) => page.keyboard.type(text),
    see: (css, text = "") => page.locator(css).filter({ hasText: text }).first().waitFor(),
    gone: (css, text = "") => page.locator(css).filter({ hasText: text }).first().waitFor({ state: "hidden" }),
    text: (css) => page.locator(css).first().innerText(),
    number: (css) => page.locator(css).count(),
    run: (code) => page.evaluate(code),
    media: (colorScheme) => page.emulateMedia({ colorScheme }),
    size: (width, height) => page.setViewportSize({ width, height }),
    shot: async (path) => void (await page.screenshot({ path, animations: "disabled" })),
    heard: () => ({ complaints, asked: [...asked] }),
  };

  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...given] = JSON.parse(line);
    try {
      const got = await ways[word](...given);
      console.log(JSON.stringify({ got: got ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ failed: error.message }));
    }
  }
  await browser.close();
})();
