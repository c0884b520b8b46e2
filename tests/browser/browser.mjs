// A browser that notices what a person would not: errors in the console, requests to other hosts,
// and what axe finds.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";

export class Browser {
  #chromium;
  #axe;
  #given;
  #browser;
  #complaints = [];
  page;

  constructor(chromium, axe, given) {
    this.#chromium = chromium;
    this.#axe = axe;
    this.#given = given;
  }

  async start() {
    this.#browser = await this.#chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
    const context = await this.#browser.newContext({
      viewport: { width: 1280, height: 800 },
      baseURL: this.#given.admin,
      reducedMotion: "reduce",
      acceptDownloads: true,
    });
    context.setDefaultTimeout(30_000);
    this.page = await context.newPage();
    this.page.on("pageerror", (error) => this.#complaints.push(`error in the page: ${error.stack}`));
    this.page.on("console", (message) => {
      // A status that the API answers with is told by the page itself; and a header for secure contexts has
      // nothing to say where the page is none.
      const expected = /^Failed to load resource|^The Cross-Origin-Opener-Policy header has been ignored/;
      if (message.type() === "error" && !expected.test(message.text())) {
        this.#complaints.push(`console: ${message.text()}`);
      }
    });
    this.page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol.startsWith("http") && url.origin !== this.#given.admin) {
        this.#complaints.push(`asked another host: ${url}`);
      }
    });
  }

  async stop() {
    await this.#browser?.close();
  }

  async check() {
    assert.deepEqual(this.#complaints, []);
  }

  open(path) {
    return this.page.goto(this.#given.admin + path);
  }

  /** Sends a request through the proxy, not by the page. */
  request(path, options) {
    return fetch(this.#given.proxy + path, options).then(async (response) => {
      await response.arrayBuffer();
      return response;
    });
  }

  shoot(name) {
    return this.page.screenshot({ path: `${this.#given.shots}/${name}.png` });
  }

  /** What a paste gives. */
  async pasted() {
    const pasted = await this.page.evaluateHandle(() => {
      const text = new Promise((done) => {
        addEventListener("paste", (event) => done(event.clipboardData.getData("text/plain")), { once: true });
      });
      // In an object, for a promise alone would be waited for.
      return { text };
    });
    await this.page.keyboard.press("Control+V");
    return pasted.evaluate(({ text }) => text);
  }

  /** What was measured, left beside the pictures. */
  async note(name, what) {
    await writeFile(`${this.#given.shots}/${name}.json`, `${JSON.stringify(what, null, 2)}\n`);
  }

  /** Both themes: what axe finds, and a picture. */
  async look(name) {
    for (const theme of ["light", "dark"]) {
      await this.page.emulateMedia({ colorScheme: theme });
      await this.shoot(`${name}-${theme}`);
      await this.page.evaluate(this.#axe);
      const found = await this.page.evaluate(() =>
        globalThis.axe.run(document, {
          runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        }),
      );
      const violations = found.violations.map((one) => ({
        rule: one.id,
        help: one.help,
        nodes: one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`),
      }));
      assert.deepEqual(violations, [], `${name} in the ${theme} theme`);
    }
    await this.page.emulateMedia({ colorScheme: "light" });
  }
}
