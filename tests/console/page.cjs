// One page of a browser under Playwright, told what to do a line at a time: node page.cjs BROWSER. Each line is [word, …arguments], and is
// answered with {"got": …} or {"failed": …}. `anew` makes it another page, which knows nothing of the one before.
const { createInterface } = require("node:readline");
const { chromium } = require("playwright-core");

const PATIENCE = 25000;

(async () => {
  const browser = await chromium.launch({ executablePath: process.argv[2] });
  let context;
  let page;
  let complaints;
  let asked;

  async function anew() {
    await context?.close();
    context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light", reducedMotion: "reduce" });
    context.setDefaultTimeout(PATIENCE);
    page = await context.newPage();
    complaints = [];
    asked = new Set();
    const mine = { complaints, asked };
    page.on("console", (said) => ["error", "warning"].includes(said.type()) && mine.complaints.push(said.text()));
    page.on("pageerror", (error) => mine.complaints.push(String(error)));
    page.on("request", (request) => mine.asked.add(new URL(request.url()).origin));
  }

  const named = (role, name, within = "body") => page.locator(within).getByRole(role, { name }).first();
  const ways = {
    anew,
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
