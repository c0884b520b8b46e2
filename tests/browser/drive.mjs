// Drives the console in Chromium: `node drive.mjs SCENARIO`, with what it needs as JSON in
// WEIR_BROWSER. Ends with a message and status 1 where something is not as it should be.

import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Browser } from "./browser.mjs";

const scenario = process.argv[2];
const given = JSON.parse(process.env.WEIR_BROWSER ?? "{}");
const known = await import("./scenarios.mjs");
const run = known[scenario];
if (!run) {
  console.error(`no scenario is called ${scenario}`);
  process.exit(2);
}

const require = createRequire(fileURLToPath(new URL("../../proxy/console/package.json", import.meta.url)));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
await mkdir(given.shots, { recursive: true });
const browser = new Browser(chromium, axe, given);
try {
  await browser.start();
  await run(browser, given);
  await browser.check();
} catch (error) {
  await browser.shoot(`failed-${scenario}`).catch(() => {});
  console.error(error.stack ?? error);
  process.exitCode = 1;
} finally {
  await browser.stop();
}
