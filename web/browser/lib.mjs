// What the journeys share: people who are logged in, pages that are watched,
// and a report of one line for each journey.
import { chromium } from "playwright-core";
import axe from "axe-core";

export const base = need("POSTKEEP_URL");
export const password = need("POSTKEEP_PASSWORD");
const patience = 60_000; // a page that takes longer is broken on any machine

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these scripts are started by go test ./cmd/postkeep -run Browser`);
  return value;
}

export class Fault extends Error {}

export function check(is, ...why) {
  if (!is) throw new Fault(why.join(" "));
}

// check for values that have to be the same.
export function same(got, want, what) {
  check(JSON.stringify(got) === JSON.stringify(want), `${what} is ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

export class Browser {
  #states = new Map();

  static async start() {
    const b = new Browser();
    // The sandbox of Chromium needs more rights than a container has.
    b.chromium = await chromium.launch({ executablePath: process.env.POSTKEEP_CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage"] });
    return b;
  }

  close() {
    return this.chromium.close();
  }

  // page opens a new window in which somebody is logged in, nobody if name is "".
  // What goes wrong in it is added to faults.
  async page(name, faults, options = {}) {
    const context = await this.chromium.newContext({ viewport: { width: 1440, height: 900 }, locale: "en-GB", timezoneId: "Europe/Berlin", acceptDownloads: true,
      storageState: name ? await this.#state(name) : undefined, ...options });
    context.setDefaultTimeout(patience);
    // Nothing leaves the page but to where it came from.
    await context.route((url) => url.origin !== base, (route) => {
      faults.push(`a request left the page: ${route.request().url().slice(0, 200)}`);
      return route.abort();
    });
    const page = await context.newPage();
    page.on("console", (m) => m.type() === "error" && !expected(m) && faults.push(`console: ${m.text()} (${page.url()})`));
    page.on("pageerror", (e) => faults.push(`script: ${e.message} (${page.url()})`));
    return page;
  }

  // state is that of somebody who logged in by the form, once for all journeys.
  async #state(name) {
    if (!this.#states.has(name)) {
      const context = await this.chromium.newContext();
      const page = await context.newPage();
      await logIn(page, name);
      this.#states.set(name, await context.storageState());
      await context.close();
    }
    return this.#states.get(name);
  }
}

// expected reports whether the browser only says that an answer was an error
// page, which the journeys see for themselves.
function expected(message) {
  return /^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text());
}

export async function logIn(page, name) {
  await page.goto(base + "/login");
  await page.fill("#name", name);
  await page.fill("#password", password);
  await page.click("button.primary");
  await page.waitForURL((url) => url.pathname !== "/login");
}

// accessible fails for what axe calls serious or critical.
export async function accessible(page, what) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { iframes: false, resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return result.violations.filter((v) => v.impact === "serious" || v.impact === "critical")
      .map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(", ")}`);
  });
  return found.map((f) => `${what}: ${f}`);
}

// overflow is how far a page is wider than its window, in pixels.
export function overflow(page) {
  return page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
}

// run runs journeys and tells of each. Its faults are what it throws and what
// its pages complain about.
export async function run(journeys) {
  const only = new RegExp(process.env.POSTKEEP_JOURNEY || "");
  const browser = await Browser.start();
  try {
    for (const [name, journey] of Object.entries(journeys)) {
      if (!only.test(name)) continue;
      const faults = [];
      const begun = performance.now();
      const before = browser.chromium.contexts().length;
      try {
        await journey(browser, faults);
      } catch (e) {
        faults.push(e instanceof Fault ? e.message : e.stack);
      }
      for (const context of browser.chromium.contexts().slice(before)) await context.close();
      console.log(JSON.stringify({ name, seconds: (performance.now() - begun) / 1000, faults: [...new Set(faults)] }));
    }
  } finally {
    await browser.close();
  }
}
