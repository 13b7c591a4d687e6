// Every page, for those it is meant for.
import { accessible, base, overflow } from "./lib.mjs";

// addresses finds the pages of each person; what was made by the journeys is there.
export async function addresses(browser, faults) {
  const page = await browser.page("olga", faults);
  const id = async (query) => {
    await page.goto(`${base}/search?q=${encodeURIComponent(query)}`);
    return page.locator(".hit").first().getAttribute("data-id");
  };
  const html = await id('subject:"newsletter" OR has:attachment');
  const plain = await id("contract");
  const views = ["html", "text", "headers", "parts", "source", "custody"].map((as) => `/m/${html}?as=${as}`);
  await page.goto(base + "/retention");
  const plan = await page.locator('a[href^="/retention/"]').first().getAttribute("href").catch(() => null);
  await page.goto(base + "/holds");
  const hold = await page.locator('td a[href^="/holds/"]').first().getAttribute("href").catch(() => null);
  await page.context().close();
  return {
    olga: ["/search", "/search?q=contract", "/search?q=has:attachment&threads=1", "/search?q=nothinghasthisword", "/search?q=(", ...views, `/m/${plain}`, "/exports", "/exports/new?q=contract",
      "/holds", "/holds/new", hold, "/retention", plan, plan && plan + "/certificate", "/audit", "/audit/completeness", "/profile", "/profile?codes=on", "/nowhere", "/mailboxes"].filter(Boolean),
    ada: ["/mailboxes", "/mailboxes/sales", "/system", "/users", "/users?new=1", "/users/axel"],
    "": ["/login"],
  };
}

// every opens all pages and calls fn for each.
export async function every(browser, faults, options, fn) {
  for (const [name, paths] of Object.entries(await addresses(browser, faults))) {
    const page = await browser.page(name, faults, options);
    for (const path of paths) {
      await page.goto(base + path);
      faults.push(...await fn(page, path));
    }
    await page.context().close();
  }
}

export const journeys = {
  "every page is accessible": (browser, faults) => every(browser, faults, { colorScheme: "light" }, accessible),
  "every page is accessible in the dark": (browser, faults) => every(browser, faults, { colorScheme: "dark" }, accessible),
  "no page is wider than a telephone": (browser, faults) => every(browser, faults, { viewport: { width: 390, height: 844 }, hasTouch: true }, async (page, path) => {
    const over = await overflow(page);
    return over > 0 ? [`${path} is ${over} pixels too wide: ${await widest(page)}`] : [];
  }),
};

// widest names what sticks out.
function widest(page) {
  return page.evaluate(() => [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1 && !e.closest(".scroll, nav"))
    .slice(0, 3).map((e) => e.tagName.toLowerCase() + "." + e.className).join(", "));
}
