// A web page that sends telemetry, in Chromium: `node otlp.mjs URL BODY`. Pages of 127.0.0.1 may send
// there, those of localhost may not.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const [url, body] = process.argv.slice(2);
const require = createRequire(fileURLToPath(new URL("../../proxy/console/package.json", import.meta.url)));
const { chromium } = require("playwright-core");

const server = createServer((_, answer) => {
  answer.setHeader("content-type", "text/html");
  answer.end("<!doctype html><title>a page</title>");
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const { port } = server.address();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
try {
  const page = await browser.newPage();
  const send = async (host) => {
    await page.goto(`http://${host}:${port}/`);
    return page.evaluate(
      async ([url, body]) => {
        const headers = { "content-type": "application/json", "x-team": "web" };
        try {
          const answer = await fetch(url, { method: "POST", headers, body });
          return [answer.status, await answer.text()];
        } catch {
          return "refused";
        }
      },
      [url, body],
    );
  };
  assert.deepEqual(await send("127.0.0.1"), [200, "{}"]);
  assert.equal(await send("localhost"), "refused");
} finally {
  await browser.close();
  server.close();
}
