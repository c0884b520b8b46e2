// Drives the console in Chromium. Scenarios come on standard input, a line of JSON each: `number`, `scenario`, and
// what it needs as `given`. Each has an answer on standard output: `number`, what was wrong as `failure`, and
// what it `said`. They run side by side, each as a visitor of its own to one Chromium. Ends with its input.

import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Browser } from "./browser.mjs";

const known = await import("./scenarios.mjs");
const require = createRequire(fileURLToPath(new URL("../../proxy/console/package.json", import.meta.url)));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

let launched = null;
/** The one that all share; another where it has crashed. */
async function shared() {
  if (launched && !(await launched).isConnected()) launched = null;
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  return launched;
}

async function drive({ scenario, given }) {
  const run = known[scenario];
  if (!run) return { failure: `no scenario is called ${scenario}` };
  const browser = new Browser(axe, given);
  try {
    await mkdir(given.shots, { recursive: true });
    await browser.start(await shared());
    await run(browser, given);
    await browser.check();
    return { said: browser.said };
  } catch (error) {
    await browser.shoot(`failed-${scenario}`).catch(() => {});
    return { failure: `${error.stack ?? error}` };
  } finally {
    await browser.stop().catch(() => {});
  }
}

const running = [];
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  const answer = drive(asked).then((answer) => {
    process.stdout.write(`${JSON.stringify({ number: asked.number, failure: null, said: [], ...answer })}\n`);
  });
  running.push(answer);
}
await Promise.all(running);
await (await launched)?.close();
