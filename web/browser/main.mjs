import { run } from "./lib.mjs";
import { journeys as main } from "./journeys.mjs";
import { journeys as pages } from "./pages.mjs";
import { journeys as hostile } from "./hostile.mjs";
import { journeys as shots } from "./shots.mjs";

await run({ ...main, ...pages, ...hostile, ...shots });
