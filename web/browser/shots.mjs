// Pictures of every page in POSTKEEP_SHOTS, for people to look at.
import { every } from "./pages.mjs";

const dir = process.env.POSTKEEP_SHOTS;
export const journeys = {};
if (dir) {
  for (const colorScheme of ["light", "dark"]) for (const width of [1440, 390]) {
    journeys[`pictures ${width} ${colorScheme}`] = (browser, faults) => every(browser, faults, { colorScheme, viewport: { width, height: width > 800 ? 900 : 844 } }, async (page, path) => {
      await page.waitForTimeout(200); // the preview comes by itself
      await page.screenshot({ path: `${dir}/${path.replace(/[0-9a-f]{64}/, "id").replace(/[^a-z0-9]+/g, "-").slice(1)}-${width}-${colorScheme}.png` });
      return [];
    });
  }
}
