// A visitor of the console who notices what a person would not: errors in the console, requests to other hosts,
// and what axe finds.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** When the clipboard is free, which all visitors have in common. */
let clipboard = Promise.resolve();

export class Browser {
  #axe;
  #given;
  #context;
  #complaints = [];
  page;
  /** What is to be told of one that went well. */
  said = [];

  constructor(axe, given) {
    this.#axe = axe;
    this.#given = given;
  }

  /** With cookies, storage and pages of its own. */
  async start(chromium) {
    const context = await chromium.newContext({
      viewport: { width: 1280, height: 800 },
      baseURL: this.#given.admin,
      reducedMotion: "reduce",
      acceptDownloads: true,
    });
    this.#context = context;
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
    // What a route was still to answer, nobody waits for.
    await this.page?.unrouteAll({ behavior: "ignoreErrors" }).catch(() => {});
    await this.#context?.close();
  }

  complain(what) {
    this.#complaints.push(what);
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

  async shoot(name) {
    return this.page.screenshot({ path: `${this.#given.shots}/${name}.png` });
  }

  /**
   * The page is a picture of the documentation. What it says stands beside the picture, without its figures and
   * times, and is compared: how it looks differs by fonts and by how long things took. `make picture` takes both anew.
   */
  async picture(name) {
    const at = (end) => fileURLToPath(new URL(`../../docs/images/${name}.${end}`, import.meta.url));
    // Which attributes a span has differs by who handled the request.
    const [all] = (await this.page.locator("body").ariaSnapshot()).split(/^.*heading "Attributes"/m);
    const says = all
      .replace(/\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b/g, "#")
      .replace(/\d[\d.,:]*/g, "#")
      .replace(/# ([nµm]?s|[KMG]?i?B)\b/g, "#")
      .replace(/\b[A-Z][a-z]{2} # #/g, "#")
      // Some ids look like numbers, and are quoted.
      .replace(/"#"/g, "#");
    if (process.env.PICTURE) {
      await this.page.screenshot({ path: at("png") });
      await writeFile(at("txt"), says);
    }
    const before = await readFile(at("txt"), "utf8").catch(() => "");
    assert.equal(says, before, `docs/images/${name}.png shows what the page no longer says: \`make picture\` takes it anew`);
  }

  /** Lets nobody else copy meanwhile. */
  async withClipboard(use) {
    const before = clipboard;
    let free;
    clipboard = new Promise((done) => (free = done));
    await before;
    try {
      await use();
    } finally {
      free();
    }
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
      // It stays in the page until another is loaded.
      if (!(await this.page.evaluate(() => "axe" in globalThis))) await this.page.evaluate(this.#axe);
      // What is well would be told node by node too, and is most of what it finds.
      const violations = await this.page.evaluate(async () => {
        const found = await globalThis.axe.run(document, {
          runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
          resultTypes: ["violations"],
        });
        return found.violations.map((one) => ({
          rule: one.id,
          help: one.help,
          nodes: one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`),
        }));
      });
      assert.deepEqual(violations, [], `${name} in the ${theme} theme`);
    }
    await this.page.emulateMedia({ colorScheme: "light" });
  }
}
