// What people do, from the first page to the last. They run in this order: later
// ones find what earlier ones made.
import { execFile } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Validator } from "@seriousme/openapi-schema-validator";
import { base, check, logIn, password, same } from "./lib.mjs";

const binary = process.env.POSTKEEP_BINARY;

async function search(page, query) {
  await page.goto(base + "/search");
  await page.fill("#q", query);
  await page.press("#q", "Enter");
  await page.waitForSelector(".count");
  return Number((await page.textContent(".count")).replace(/\D/g, ""));
}

// openFacets opens what is folded in narrow windows.
async function openFacets(page) {
  if (!await page.isVisible(".facets a")) await page.click(".facets summary");
}

// downloaded clicks, and returns what comes as a file.
async function downloaded(page, locator) {
  const [download] = await Promise.all([page.waitForEvent("download"), locator.click()]);
  const path = await download.path();
  return { path, name: download.suggestedFilename(), size: (await stat(path)).size };
}

export const journeys = {
  async "log in"(browser, faults) {
    const page = await browser.page("", faults);
    await page.goto(base + "/search?q=contract");
    same(new URL(page.url()).pathname, "/login", "the first page");
    await page.fill("#name", "olga");
    await page.fill("#password", "not the password");
    await page.click("button.primary");
    check(await page.isVisible('[role="alert"]'), "nothing says that the password is wrong");
    same(await page.inputValue("#name"), "olga", "the name after a wrong password");
    await page.fill("#password", password);
    await page.click("button.primary");
    await page.waitForURL(/\/search\?q=contract$/);
    await page.click(".me");
    await page.click("text=Log out");
    await page.waitForURL(/\/login$/);
    await page.goto(base + "/search?q=contract");
    same(new URL(page.url()).pathname, "/login", "the page after logging out");
  },

  async "search, refine by a facet, read every view"(browser, faults) {
    const page = await browser.page("olga", faults);
    const all = await search(page, "contract");
    check(all > 1, `only ${all} messages found`);
    await openFacets(page);
    const facet = page.locator(".facets a").first();
    const promised = Number((await facet.locator(".num").textContent()).replace(/\D/g, ""));
    await Promise.all([page.waitForURL((url) => url.search.includes("mailbox")), facet.click()]);
    const count = Number((await page.textContent(".count")).replace(/\D/g, ""));
    same(count, promised, "the count after a click on a facet that promised it");
    check(count <= all, "a facet widened the search");
    await page.goBack();
    same(Number((await page.textContent(".count")).replace(/\D/g, "")), all, "the count after going back");

    await search(page, "has:attachment");
    const id = await page.locator(".hit").first().getAttribute("data-id");
    await page.goto(`${base}/m/${id}`);
    const tabs = await page.locator(".tabs a:not([download])").allTextContents();
    for (const wanted of ["Headers", "Parts", "Source", "Chain of custody"]) check(tabs.includes(wanted), `no view ${wanted} among ${tabs}`);
    for (const tab of tabs) {
      await page.click(`.tabs >> text="${tab}"`);
      await page.waitForSelector(`.tabs a[aria-current]:text-is("${tab}")`);
    }
    check((await page.textContent(".timeline")).includes("Received"), "the chain of custody does not begin with the receipt");
  },

  async "the HTML of a message in its frame"(browser, faults) {
    const page = await browser.page("olga", faults);
    const found = await page.request.get(`${base}/api/v1/search?q=-to:victim&limit=300`);
    for (const { id } of (await found.json()).hits) {
      await page.goto(`${base}/m/${id}`);
      if (!await page.isVisible("iframe.mail")) continue;
      const frame = await (await page.$("iframe.mail")).contentFrame();
      check((await frame.textContent("body")).trim() !== "", "the frame is empty");
      check((await page.getAttribute("iframe.mail", "sandbox")).indexOf("allow-scripts") < 0, "the frame may run scripts");
      return;
    }
    check(false, "no message has HTML");
  },

  async "download an attachment and the message"(browser, faults) {
    const page = await browser.page("olga", faults);
    await search(page, "has:attachment -to:victim");
    await page.goto(base + await page.locator(".hit .subject").first().getAttribute("href"));
    const link = page.locator(".attachments a").first();
    const name = await link.locator("span").textContent();
    const file = await downloaded(page, link);
    check(file.size > 0 && file.name === name, `${file.name} of ${file.size} bytes, want ${name}`);
    const raw = await downloaded(page, page.locator(".tabs a[download]"));
    const id = /[0-9a-f]{64}/.exec(page.url())[0];
    same(raw.name, id + ".eml", "the file name of the message");
    const { stdout } = await promisify(execFile)("sha256sum", [raw.path]);
    same(stdout.slice(0, 64), id, "the SHA-256 of the download");
  },

  async "place a hold on what a search found"(browser, faults) {
    const page = await browser.page("olga", faults);
    const n = await search(page, "mailbox:sales contract");
    await page.click("text=Place a hold");
    same(await page.inputValue("#query"), "mailbox:sales contract", "the query of the hold");
    await page.fill("#name", "Harbour against Mill");
    await page.fill("#reason", "notice of 3 March");
    await page.click("text=Place the hold");
    await page.waitForSelector('[role="status"] >> text=in force');
    // What cannot be read well might fit, and is held too.
    const covered = Number((await page.textContent('dd a[href^="/search"]')).replace(/\D/g, ""));
    check(n > 0 && covered >= n, `the hold covers ${covered} messages, the search found ${n}`);
    same(await search(page, "is:held"), covered, "the number of held messages");
    same(await search(page, "mailbox:sales contract -is:held"), 0, "the number of messages that were found and are not held");
  },

  async "export what a search found, and verify it elsewhere"(browser, faults) {
    const page = await browser.page("axel", faults);
    const n = await search(page, "contract");
    await page.click('.selection >> text="Export"');
    await page.selectOption("#format", "eml");
    await page.click('form >> button.primary:text-is("Export")');
    const row = page.locator("tbody tr").first();
    await row.locator('.state:text-is("verified")').waitFor();
    check((await row.textContent()).includes(String(n)), `the export has not ${n} messages`);
    const file = await downloaded(page, row.locator("a[download]"));
    const dir = await mkdtemp(join(tmpdir(), "postkeep-export-"));
    try {
      const zip = join(dir, file.name);
      await promisify(execFile)("cp", [file.path, zip]);
      await promisify(execFile)(binary, ["verify-export", "--key", await page.locator("tr.note code").first().textContent(), zip]);
    } finally {
      await rm(dir, { recursive: true });
    }
    await row.locator("text=Remove").click();
    await page.waitForSelector("text=No exports");
  },

  async "dispose of mail with the approval of a second person"(browser, faults) {
    const olga = await browser.page("olga", faults);
    await olga.goto(base + "/retention");
    await olga.click("text=Add a rule");
    await olga.fill("#name", "old archive");
    await olga.fill("#mailbox", "archive");
    await olga.fill("#max", "1d");
    await olga.selectOption("#basis", "date");
    await olga.click('button.primary:text-is("Add the rule")');
    await olga.waitForSelector("td >> text=old archive");
    await olga.click("text=List what is due");
    await olga.waitForURL(/\/retention\/[^/]+$/);
    const plan = olga.url();
    await olga.click('main button:has-text("Approve")');
    await olga.waitForSelector('[role="alert"]'); // not by who made it
    olga.on("dialog", (dialog) => dialog.accept());
    await olga.goto(plan);
    await olga.click("text=Dispose of it");
    await olga.waitForSelector('[role="alert"]'); // not before it is approved

    const otto = await browser.page("otto", faults);
    const asked = [];
    otto.on("dialog", (dialog) => { asked.push(dialog.message()); return dialog.accept(); });
    await otto.goto(plan);
    await otto.click('main button:has-text("Approve")');
    await otto.waitForSelector("dt >> text=Approved");
    await otto.click("text=Dispose of it");
    await otto.click("text=Certificate");
    await otto.waitForURL(/\/certificate$/);
    same(asked.length, 1, "how often one is asked before a disposal");
    const text = await otto.textContent("main");
    check(text.includes("olga") && text.includes("otto"), "the certificate does not name both");
    same(await search(otto, "mailbox:archive is:held"), await search(otto, "mailbox:archive"), "what is left in the mailbox, all of it held");
  },

  async "poll now, and see the new mail come in"(browser, faults) {
    const page = await browser.page("ada", faults);
    await page.goto(base + "/mailboxes");
    const cell = page.locator('[data-mailbox="sales"] [data-cell="deposits"]');
    const before = await cell.textContent();
    await page.evaluate(() => { window.stayed = true; });
    await page.click('[data-mailbox="sales"] button');
    await page.waitForFunction((was) => document.querySelector('[data-mailbox="sales"] [data-cell="deposits"]').textContent !== was, before);
    check(await page.evaluate(() => window.stayed), "the page was loaded again");
    await page.waitForSelector('[data-mailbox="sales"] .state.ok');
  },

  async "German"(browser, faults) {
    const page = await browser.page("uwe", faults, { locale: "de-DE" });
    await page.goto(base + "/search?q=contract");
    same(await page.getAttribute("html", "lang"), "de", "the language of a German browser");
    check((await page.textContent(".side nav")).includes("Suche"), "the navigation is not German");
    await page.goto(base + "/profile");
    await page.selectOption("#lang", "en");
    await page.click('form[action="/profile/look"] button');
    await page.waitForSelector('html[lang="en"]');
    await page.goto(base + "/search");
    same(await page.getAttribute("html", "lang"), "en", "the chosen language on the next page");
  },

  async "dark, by the system and by choice"(browser, faults) {
    const page = await browser.page("uwe", faults, { colorScheme: "dark" });
    const light = () => page.evaluate(() => {
      const context = new OffscreenCanvas(1, 1).getContext("2d");
      context.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
      context.fillRect(0, 0, 1, 1);
      return context.getImageData(0, 0, 1, 1).data[0];
    });
    await page.goto(base + "/profile");
    check(await light() < 64, "the page is light in a dark system");
    for (const [theme, is] of [["light", (c) => c > 192], ["dark", (c) => c < 64]]) {
      await page.selectOption("#theme", theme);
      await page.click('form[action="/profile/look"] button');
      await page.waitForSelector(`html[data-theme="${theme}"]`);
      check(is(await light()), `the page is not ${theme}`);
    }
  },

  async "keyboard alone"(browser, faults) {
    const page = await browser.page("olga", faults);
    await page.goto(base + "/search?q=contract");
    await page.keyboard.press("Tab");
    same(await page.evaluate(() => document.activeElement.className), "skip", "the first stop of Tab");
    await page.keyboard.press("Enter");
    same(await page.evaluate(() => document.activeElement.id), "main", "where the skip link leads");
    await page.keyboard.press("/");
    same(await page.evaluate(() => document.activeElement.id), "q", "where / leads");
    await page.keyboard.type("fro");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    same(await page.inputValue("#q"), "from:", "the completion of fro");
    await page.keyboard.type("maria");
    await page.keyboard.press("Enter");
    await page.waitForURL(/q=from%3Amaria$/);
    const current = () => page.getAttribute(".hit.current", "data-id");
    await page.evaluate(() => document.activeElement.blur());
    const first = await page.locator(".hit").first().getAttribute("data-id");
    await page.waitForSelector(".hit.current");
    same(await current(), first, "the first message");
    await page.keyboard.press("j");
    const second = await page.locator(".hit").nth(1).getAttribute("data-id");
    same(await current(), second, "the message after j");
    await page.keyboard.press("k");
    same(await current(), first, "the message after k");
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    check(await page.isChecked(".hit.current input"), "x does not select");
    await page.keyboard.press("o");
    await page.waitForURL(new RegExp("/m/" + second));
    await page.keyboard.press("u");
    await page.waitForURL(/\/search\?/);
    // Every stop of Tab can be seen.
    const stops = await page.locator("a:visible, button:visible, input:visible, summary:visible").count();
    for (let i = 0; i < Math.min(stops, 25); i++) {
      await page.keyboard.press("Tab");
      const seen = await page.evaluate(() => {
        const e = document.activeElement;
        const shown = e.closest(".hit") ?? e;
        return e === document.body || e.tagName === "IFRAME" || getComputedStyle(e).outlineStyle !== "none" || getComputedStyle(shown).outlineStyle !== "none" || e.outerHTML.slice(0, 200);
      });
      check(seen === true, `the focus cannot be seen: ${seen}`);
    }
  },

  async "search and read without scripts"(browser, faults) {
    const page = await browser.page("", faults, { javaScriptEnabled: false });
    await logIn(page, "uwe");
    const n = await search(page, "contract");
    check(n > 0, "nothing found");
    await openFacets(page);
    await page.click(".facets a");
    await page.click(".hit .subject");
    await page.waitForURL(/\/m\//);
    for (const tab of ["Headers", "Parts", "Source"]) {
      await page.click(`.tabs >> text="${tab}"`);
      await page.waitForSelector(`.tabs a[aria-current]:text-is("${tab}")`);
    }
    await page.click(".crumb");
    await page.waitForURL(/\/search\?/);
  },

  async "the OpenAPI document is valid"(browser, faults) {
    const page = await browser.page("olga", faults);
    const answer = await page.request.get(base + "/api/v1/openapi.json");
    const result = await new Validator().validate(await answer.json());
    check(result.valid, JSON.stringify(result.errors)?.slice(0, 2000));
  },
};
