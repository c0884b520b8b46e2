// A web page that talks by WebSocket, in Chromium: `node websocket.mjs PAGE SOCKET`. Echoes come back, and
// the connection is closed by the code that the server gives.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const [url, socket] = process.argv.slice(2);
const require = createRequire(fileURLToPath(new URL("../../proxy/console/package.json", import.meta.url)));
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
try {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(url);
  const said = await page.evaluate(
    (socket) =>
      new Promise((ended) => {
        const said = [];
        const messages = ["hello", "x".repeat(1 << 17), "close"];
        const connection = new WebSocket(socket);
        const next = () => connection.send(messages.shift());
        connection.onopen = next;
        connection.onmessage = ({ data }) => {
          said.push(data.length);
          next();
        };
        connection.onclose = ({ code, reason }) => ended([...said, code, reason]);
      }),
    socket,
  );
  assert.deepEqual(said, [5, 1 << 17, 4000, "as asked"]);
} finally {
  await browser.close();
}
