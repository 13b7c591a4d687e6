// Hostile mail in every view. lib.mjs stops every request that leaves the page,
// and counts it as a fault.
import { base, check, overflow } from "./lib.mjs";

// guarded is a window that tells of every script that ran.
async function guarded(browser, faults, at) {
  const page = await browser.page("olga", faults);
  await page.context().exposeFunction("pwned", () => faults.push(`a script ran: ${at.now}`));
  page.on("dialog", (dialog) => { faults.push(`a dialog: ${at.now}`); return dialog.dismiss(); });
  page.on("popup", (popup) => faults.push(`a window opened: ${at.now}, ${popup.url()}`));
  page.on("download", (download) => faults.push(`a download began: ${at.now}, ${download.url()}`));
  return page;
}

// guards makes sure that a script that ran, and a request that left, would be seen.
async function guards(page, faults) {
  for (const act of [() => window.pwned(), () => { new Image().src = "http://evil.invalid/x"; }]) {
    await page.goto(base + "/profile");
    const begun = performance.now();
    await page.evaluate(act);
    while (!faults.length && performance.now() - begun < 5_000) await page.evaluate(() => new Promise(requestAnimationFrame));
    check(faults.length > 0, `this goes unseen: ${act}`);
    faults.length = 0;
  }
}

async function ids(page) {
  const answer = await page.request.get(`${base}/api/v1/search?q=mailbox:hostile&limit=1000`);
  return (await answer.json()).hits.map((m) => m.id);
}

export const journeys = {
  async "hostile mail is harmless as a page"(browser, faults) {
    const at = {};
    const first = await guarded(browser, faults, at);
    const all = await ids(first);
    check(all.length >= 100, `there are only ${all.length} hostile messages`);
    await guards(first, faults);
    const work = async (page, place) => {
      for (let id = all.shift(); id; id = all.shift()) {
        for (const path of [`/m/${id}`, `/m/${id}/html`]) {
          place.now = path;
          const answer = await page.goto(base + path, { waitUntil: "load" });
          if (answer.status() === 404 && path.endsWith("/html")) continue; // it has none
          if (answer.status() !== 200) faults.push(`${path}: ${answer.status()}`);
          if (page.url() !== base + path) faults.push(`${path} led to ${page.url()}`);
          for (const frame of page.frames().slice(1)) {
            if (!/\/m\/[0-9a-f]{64}\/html(\?view=\d+)?$/.test(frame.url())) faults.push(`${path}: a frame shows ${frame.url()}`);
          }
          if (!path.endsWith("/html") && await overflow(page) > 0) faults.push(`${path} is too wide`);
        }
      }
    };
    const place = {};
    await Promise.all([work(first, at), guarded(browser, faults, place).then((page) => work(page, place))]);
  },

  // The other views as the preview shows them, which is what their pages have too.
  async "hostile mail is harmless in every view"(browser, faults) {
    const at = { now: "views" };
    const page = await guarded(browser, faults, at);
    const all = await ids(page);
    await page.goto(base + "/search?q=mailbox:hostile");
    faults.push(...await page.evaluate(async (all) => {
      const found = [];
      const pane = document.querySelector("[data-preview]");
      pane.hidden = false;
      for (const id of all) {
        for (const as of ["html", "text", "headers", "parts", "source", "custody"]) {
          const answer = await fetch(`/m/${id}?as=${as}`, { headers: { "Postkeep-Fragment": "1" } });
          pane.innerHTML = await answer.text();
          const what = `/m/${id}?as=${as}`;
          if (answer.status !== 200) found.push(`${what}: ${answer.status}`);
          for (const e of pane.querySelectorAll("*")) {
            const on = [...e.attributes].find((a) => /^on|^srcdoc$/i.test(a.name) || /^\s*(javascript|vbscript):/i.test(a.value) && /href|src|action|formaction/i.test(a.name));
            if (on || /^(script|object|embed|base|meta|link|template)$/i.test(e.tagName)) found.push(`${what} has ${e.outerHTML.slice(0, 200)}`);
          }
          if (pane.scrollWidth > pane.clientWidth) found.push(`${what} is ${pane.scrollWidth - pane.clientWidth} pixels too wide for the preview`);
        }
      }
      return found;
    }, all));
  },

  async "hostile mail is harmless in lists and beside them"(browser, faults) {
    const at = { now: "the list" };
    const page = await guarded(browser, faults, at);
    for (const path of ["/search?q=mailbox:hostile&sort=sender", "/search?q=mailbox:hostile&threads=1", "/exports/new?q=<script>pwned()</script>", "/search?q=\"><script>pwned()</script>",
      "/audit?actor=<script>pwned()</script>", "/holds/new?q=\"><img src=x onerror=pwned()>", "/nowhere/<script>pwned()</script>"]) {
      at.now = path;
      await page.goto(base + path, { waitUntil: "load" });
    }
    await page.goto(base + "/search?q=mailbox:hostile");
    const n = await page.locator(".hit").count();
    check(n >= 50, `only ${n} messages in the list`);
    for (let i = 0; i < n; i++) {
      const hit = page.locator(".hit").nth(i);
      at.now = await hit.getAttribute("data-id");
      const shown = page.waitForResponse((r) => r.url().includes("/m/" + at.now) && !r.url().includes("/html"));
      await hit.locator(".subject").dispatchEvent("click");
      await shown;
    }
    check(await page.evaluate(() => document.querySelectorAll("[data-preview] script").length) === 0, "the preview has a script");
    same(new URL(page.url()).pathname, "/search");
  },

  async "what hostile mail encloses is downloaded, never shown"(browser, faults) {
    const at = { now: "parts" };
    const page = await guarded(browser, faults, at);
    let parts = 0;
    for (const id of await ids(page)) {
      const structure = await (await page.request.get(`${base}/api/v1/messages/${id}/structure`)).json();
      for (const part of structure.parts.filter((p) => p.attachment || p.size > 0)) {
        for (const path of [`/m/${id}/part/${part.path}`, `/api/v1/messages/${id}/parts/${part.path}`]) {
          const answer = await page.request.get(base + path);
          if (answer.status() === 404) continue; // a part that only has parts
          const h = answer.headers();
          check(/^attachment(;|$)/.test(h["content-disposition"]) && h["x-content-type-options"] === "nosniff" && /sandbox/.test(h["content-security-policy"]), `${path}: ${JSON.stringify(h)}`);
          check(!/[\\/\u202a-\u202e]/.test(decodeURIComponent((/filename\*?=(.*)$/.exec(h["content-disposition"])?.[1] ?? "").replace(/^utf-8''/, ""))), `${path}: ${h["content-disposition"]}`);
          parts++;
        }
      }
    }
    check(parts > 40, `only ${parts} parts`);
  },
};

function same(got, want) {
  check(got === want, `the page is ${got}, want ${want}`);
}
