// A mail scanner meets the page of an approval: it opens every link, runs every script, hovers and scrolls, and at last sends
// every form it finds, as it stands and filled with what comes to its mind. Nothing may be decided by that. Then a person
// reads the page, types the word and presses the button, and that decides.
//
//   node tests/browser/scanner.mjs BROWSER LINK WORD scan|answer
//
// BROWSER is what `.ci/browser` printed. Exit status 0 if all of it was done; what was decided is for the caller to see.
import { launch } from "./launch.mjs";

const [directory, link, word, what] = process.argv.slice(2);
const fail = (reason) => {
  throw new Error(reason);
};

async function opened(browser, url) {
  const page = await browser.newPage();
  const answer = await page.goto(url, { waitUntil: "networkidle", timeout: 30_000 });
  if (answer.status() !== 200) fail(`the page answered ${answer.status()}`);
  return page;
}

async function scan(browser) {
  const scripts = [];
  const page = await browser.newPage();
  page.on("request", (request) => request.resourceType() === "script" && scripts.push(request.url()));
  await page.goto(link, { waitUntil: "networkidle", timeout: 30_000 });
  await page.mouse.move(200, 200);
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  const found = await page.evaluate(() => ({
    links: [...document.querySelectorAll("a[href], link[href], area[href]")].map((element) => element.href),
    forms: document.forms.length,
    scripts: document.scripts.length,
  }));
  if (found.forms !== 1) fail(`the page has ${found.forms} forms; the scanner is to meet one`);
  if (found.scripts + scripts.length > 0) fail("the page has scripts");
  // Every link, and what a prefetch, a preview or a second device would ask for.
  const headers = [{}, { purpose: "prefetch" }, { "sec-purpose": "prefetch;prerender" }, { "user-agent": "SafeLinks" }];
  for (const extraHTTPHeaders of headers) {
    const context = await browser.newContext({ extraHTTPHeaders });
    for (const url of [link, ...found.links]) await (await context.newPage()).goto(url, { waitUntil: "networkidle" });
    await context.close();
  }
  // A scanner that sends forms: by script, past what the browser would check, and by pressing each button.
  for (const filled of ["", "test", "yes", "approve"]) {
    for (const button of ["continue", "stop"]) {
      const form = await opened(browser, link);
      await form.evaluate(
        ([filled, button]) => {
          const [form] = document.forms;
          form.noValidate = true;
          for (const field of form.querySelectorAll("input:not([type=hidden]), textarea")) field.value = filled;
          form.requestSubmit(form.querySelector(`button[value=${button}]`));
        },
        [filled, button],
      );
      await form.waitForLoadState("networkidle");
      const said = await form.textContent("main");
      if (!said.includes("Nothing was recorded")) fail(`a form that was sent by a program was answered: ${said}`);
      await form.close();
    }
  }
}

async function answer(browser) {
  const page = await opened(browser, link);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width: 375, height: 740 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    if (wide) fail(`the page is wider than a phone (${scheme})`);
  }
  await page.fill("textarea[name=reason]", "read it");
  await page.fill("input[name=word]", word);
  await page.click("button[value=continue]");
  await page.waitForLoadState("networkidle");
  const said = await page.textContent("main");
  if (!said.includes("Decided")) fail(`a person's answer was not taken: ${said}`);
}

const browser = await launch(directory);
try {
  await { scan, answer }[what](browser);
} finally {
  await browser.close();
}
