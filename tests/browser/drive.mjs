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

/** Longest that a scenario may take: a page that hangs would keep its test, and who waits for the clipboard, for ever. */
const PATIENCE = 600_000;

let launched = null;
/** The one that all share; another where it could not be started, or has crashed. */
function shared() {
  launched ??= chromium
    .launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    })
    .then(
      (browser) => browser.on("disconnected", () => (launched = null)),
      (error) => {
        launched = null;
        throw error;
      },
    );
  return launched;
}

/** Those who visit now. */
const visitors = new Set();
// An error that nobody waited for would end the driver, and all tests with it. Whose it is is not known.
process.on("unhandledRejection", (error) => {
  console.error(error);
  for (const browser of visitors) browser.complain(`nobody waited for: ${error?.stack ?? error}`);
});

async function inTime(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${PATIENCE / 60_000} minutes`)), PATIENCE);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function drive({ scenario, given }) {
  const run = known[scenario];
  if (!run) return { failure: `no scenario is called ${scenario}` };
  const browser = new Browser(axe, given);
  const visit = async () => {
    await mkdir(given.shots, { recursive: true });
    await browser.start(await shared());
    await run(browser, given);
    await browser.check();
  };
  visitors.add(browser);
  try {
    await inTime(visit());
    return { said: browser.said };
  } catch (error) {
    await browser.shoot(`failed-${scenario}`).catch(() => {});
    return { failure: `${error.stack ?? error}` };
  } finally {
    visitors.delete(browser);
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
