// What is true of the console as a whole: large traces, the keyboard alone, wide and narrow screens.

import assert from "node:assert/strict";

/** A large trace scrolls, and its spans are chosen, as a small one: only what is in view is in the document. */
export async function large(browser, { key }) {
  const { page } = browser;
  await browser.request("/v1/one", { headers: { "x-api-key": key } });
  await browser.open("/traces");
  const link = page.getByRole("link", { name: "GET /v1/one" });
  await link.waitFor();
  // A real answer, with more spans than Weir would make.
  let spans = 400;
  await page.route("**/api/traces/*", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    if (!body.trace) return route.fulfill({ response });
    const call = body.trace.Spans.at(-1);
    for (let n = 0; n < spans; n += 1) {
      body.trace.Spans.push({
        ...call,
        SpanID: `e${n.toString(16).padStart(15, "0")}`,
        ParentID: n % 7 === 0 ? body.trace.RootSpan.SpanID : call.SpanID,
        Name: `span ${n}`,
      });
    }
    await route.fulfill({ response, json: body });
  });
  await link.click();
  const grid = page.getByRole("treegrid", { name: "Spans" });
  await grid.waitFor();
  const small = await handled(page, grid);

  spans = 10_000;
  await page.reload();
  await grid.waitFor();
  const large = await handled(page, grid);
  await browser.note("scroll", { spans, small, large });
  browser.said.push(`${spans} spans: ${large.frames_a_second} frames a second; of few: ${small.frames_a_second}`);
  // On a quiet machine, for who asks for it: `FRAMES_A_SECOND=60`.
  const least = Number(process.env.FRAMES_A_SECOND ?? 0);
  assert.ok(large.frames_a_second >= least, `${large.frames_a_second} frames a second`);
  // What a frame has to do, which no busy machine changes: that it fits into a sixtieth of a second follows where it
  // does for a small trace, and where it is little. A row more or less comes into view by where the scroll stands.
  const { scrolled, chosen } = large;
  assert.ok(scrolled.rows <= 1.5 * scrolled.rows_in_view, `rows out of view are in the document: ${scrolled.rows}`);
  assert.ok(scrolled.commits <= 1.1 * FRAMES, `${scrolled.commits} renderings in ${FRAMES} frames`);
  assert.ok(scrolled.layouts <= 1.5 * FRAMES, `${scrolled.layouts} layouts in ${FRAMES} frames`);
  assert.ok(scrolled.made <= 20 * FRAMES, `rows are made anew: ${scrolled.made} elements in ${FRAMES} frames`);
  assert.ok(scrolled.changes <= 8 * scrolled.rows_in_view * FRAMES, `${scrolled.changes} changes of the document in ${FRAMES} frames`);
  assert.ok(chosen.changes <= 10 * CHOICES, `${chosen.changes} changes of the document for ${CHOICES} choices`);
  for (const [what, figures] of Object.entries({ scrolled, chosen })) {
    const few = small[what];
    for (const of of ["commits", "layouts", "changes"]) {
      assert.ok(figures[of] <= 1.2 * few[of] + 10, `${what}, ${of}: ${figures[of]} with ${spans} spans, ${few[of]} with few`);
    }
  }

  await grid.focus();
  await page.keyboard.press("End");
  await grid.getByRole("row", { name: "span 9996", selected: true }).waitFor();
  // A link to a span leads to its row.
  await page.reload();
  await grid.getByRole("row", { name: "span 9996", selected: true }).waitFor();
  await browser.look("trace-large");
}

const CHOICES = 20;
const FRAMES = 60;

/** What the page does while spans are chosen one after the other, and while they scroll; and how fast that is here. */
async function handled(page, grid) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  // Each rendering changes the document at once, so its changes are told together.
  await grid.evaluate((element) => {
    const seen = { commits: 0, changes: 0, made: 0 };
    // What only moves is not made.
    const known = new WeakSet(element.querySelectorAll("*"));
    new MutationObserver((records) => {
      seen.commits += 1;
      seen.changes += records.length;
      for (const node of records.flatMap((record) => [...record.addedNodes])) {
        if (!(node instanceof Element)) continue;
        for (const one of [node, ...node.querySelectorAll("*")]) {
          if (!known.has(one)) seen.made += 1;
          known.add(one);
        }
      }
    }).observe(element, { subtree: true, childList: true, attributes: true, characterData: true });
    globalThis.seen = seen;
  });
  const now = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    const metric = (name) => metrics.find((metric) => metric.name === name).value;
    const seen = await page.evaluate(() => ({ ...globalThis.seen }));
    return { ...seen, layouts: metric("LayoutCount"), cpu_ms: metric("TaskDuration") * 1000 };
  };
  const since = (before, after) =>
    Object.fromEntries(Object.keys(after).map((key) => [key, Number((after[key] - before[key]).toFixed(1))]));
  await grid.focus();
  await page.keyboard.press("Home");
  await grid.getByRole("row", { selected: true, name: "GET hello" }).waitFor();
  const before = await now();
  for (let n = 0; n < CHOICES; n += 1) await page.keyboard.press("ArrowDown");
  await page.evaluate(() => new Promise(requestAnimationFrame));
  const chosen = await now();
  const scroll = await grid.evaluate(async (element, frames) => {
    // More than what is in view, so that each frame shows other rows.
    const STEP = 1000;
    const end = element.scrollHeight - element.clientHeight;
    let [at, by, rows] = [element.scrollTop, STEP, 0];
    const start = await new Promise(requestAnimationFrame);
    for (let n = 0; n < frames; n += 1) {
      if (at + by > end || at + by < 0) by = -by;
      at += by;
      element.scrollTop = at;
      await new Promise(requestAnimationFrame);
      rows = Math.max(rows, element.querySelectorAll('[role="row"]').length);
    }
    const seconds = ((await new Promise(requestAnimationFrame)) - start) / 1000;
    const one = element.querySelector('[role="row"]').offsetHeight;
    return { seconds, rows, rows_in_view: Math.ceil(element.clientHeight / one) + 1 };
  }, FRAMES);
  const { seconds, ...rows } = scroll;
  const scrolled = { ...rows, ...since(chosen, await now()) };
  await devtools.detach();
  // One more is waited for behind the last.
  return { frames_a_second: Math.round((FRAMES + 1) / seconds), chosen: since(before, chosen), scrolled };
}

/** The whole way without a mouse: from the first page to a trace's span, and to a saved file. */
export async function keyboard(browser, { key }) {
  const { page } = browser;
  const { keyboard } = page;
  await browser.request("/v1/keys", { headers: { "x-api-key": key } });
  await browser.open("/");
  await page.getByRole("link", { name: "GET /v1/keys" }).waitFor();
  /** Presses a key until what it leads to has the focus. */
  const reach = async (locator, press = "Tab", most = 80) => {
    for (let n = 0; n < most; n += 1) {
      if (await locator.evaluate((element) => element === document.activeElement)) return;
      await keyboard.press(press);
    }
    assert.fail(`${locator} cannot be reached by ${press}`);
  };
  // The first stop leads past the menu.
  await keyboard.press("Tab");
  await page.getByRole("link", { name: "Skip to content" }).and(page.locator(":focus")).waitFor();
  await browser.look("keyboard-skip");
  await reach(page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Traces" }));
  await keyboard.press("Enter");
  await reach(page.getByRole("link", { name: "GET /v1/keys" }));
  await keyboard.press("Enter");
  await page.getByRole("treegrid", { name: "Spans" }).waitFor();
  await reach(page.getByRole("treegrid", { name: "Spans" }));
  await keyboard.press("End");
  await page.getByRole("complementary", { name: "Span" }).waitFor();
  await zoomed(page, reach);
  await keyboard.press("Escape");
  await reach(page.getByRole("tab", { name: /Spans/ }), "Shift+Tab");
  await keyboard.press("ArrowRight");
  await page.getByRole("tab", { name: /Logs/, selected: true }).and(page.locator(":focus")).waitFor();

  await reach(page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: /Kafka/ }), "Shift+Tab");
  await keyboard.press("Enter");
  await reach(page.getByRole("link", { name: "traces", exact: true }));
  await keyboard.press("Enter");
  await page.getByLabel("batch_size", { exact: true }).waitFor();
  await reach(page.getByRole("button", { name: "Configure Plugin Tracing" }));
  await keyboard.press("Enter");
  const sheet = page.getByRole("dialog", { name: "Configure Plugin Tracing" });
  await reach(sheet.getByRole("switch", { name: "auth", exact: true }));
  await keyboard.press("Space");
  await reach(sheet.getByRole("button", { name: "Save" }));
  await keyboard.press("Enter");
  const save = page.getByRole("dialog", { name: "Save to the file" });
  await save.getByText("plugin_span_filter").waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("button")].some((of) => of.textContent === "Write and reload" && !of.disabled));
  await reach(save.getByRole("button", { name: "Write and reload" }));
  await keyboard.press("Enter");
  await page.getByText("Saved and reloaded").waitFor();
}

/** Every control of every page gets the focus by Tab alone; so nothing is for the mouse alone. */
export async function reached(browser, { key }) {
  const { page } = browser;
  for (const path of ["/v1/items/1", "/v1/items/2"]) await browser.request(path, { headers: { "x-api-key": key } });
  await browser.open("/traces");
  const link = page.getByRole("link", { name: "GET /v1/items/2" });
  await link.waitFor();
  const trace = new URL(await link.getAttribute("href"), page.url()).pathname;
  const paths = ["/", "/traces", "/traces?live=1", "/traces?status=2xx&route=hello", trace, "/routes", "/upstreams", "/plugins", "/plugins/auth", "/exporters", "/exporters/traces", "/exporters/new", "/otlp", "/configuration", "/routes/none"];
  for (const path of paths) {
    await browser.open(path);
    await page.locator("h1").waitFor();
    await page.locator(".loading").first().waitFor({ state: "detached" });
    // What is folded away is reached once it is unfolded, which a summary is for.
    await page.locator("details").evaluateAll((all) => all.forEach((details) => (details.open = true)));
    await tabbed(page, path);
  }

  await browser.open(trace);
  const grid = page.getByRole("treegrid", { name: "Spans" });
  await grid.focus();
  await page.keyboard.press("End");
  await page.getByRole("complementary", { name: "Span" }).waitFor();
  await tabbed(page, "a span");
  await page.keyboard.press("+");
  for (const tab of ["Logs", "Headers", "Message as exported"]) {
    await page.getByRole("tab", { name: tab }).click();
    await tabbed(page, tab);
  }
  await browser.open("/exporters/traces");
  await page.getByLabel("batch_size", { exact: true }).fill("7");
  await tabbed(page, "a form with changes");
  await page.getByRole("button", { name: "Configure Plugin Tracing" }).click();
  await tabbed(page, "the tracing sheet");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  await page.getByRole("dialog", { name: "Save to the file" }).getByText("batch_size: 7").waitFor();
  await tabbed(page, "the difference");
}

/** Goes through what can be seen, by Tab. */
async function tabbed(page, what) {
  const count = await page.evaluate(() => {
    const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getClientRects().length > 0;
    // What lies behind an open dialog cannot be used meanwhile.
    const scope = document.querySelector("dialog:modal") ?? document.body;
    const all = [...scope.querySelectorAll("*")].filter(seen);
    const control = "a, button, input, select, textarea, summary";
    // Arrow keys move within these, and keys of the grid fold.
    const roving = (element) => element.tabIndex < 0 && element.closest('[role="tablist"], [role="treegrid"]');
    const wanted = all.filter((element) => {
      if (element.matches(control)) return !element.disabled && !roving(element);
      return element.hasAttribute("tabindex") && element.tabIndex >= 0;
    });
    // What looks as if a click did something is a control, in one, or of a row with a link that does the same.
    const within = (element) => element.closest(`${control}, label, [role="treegrid"]`) || element.closest("tr")?.querySelector("a");
    const clicked = all.filter((element) => getComputedStyle(element).cursor === "pointer" && !within(element));
    const reached = new Set([document.activeElement]);
    const note = (event) => reached.add(event.target);
    document.addEventListener("focusin", note);
    globalThis.tabbed = () => {
      const missed = [...wanted, ...clicked].filter((element) => element.isConnected && seen(element) && !reached.has(element));
      return missed.map((element) => element.outerHTML.slice(0, 200));
    };
    return wanted.length;
  });
  assert.ok(count > 0, `${what} has no control`);
  let missed;
  // Twice around, for what came meanwhile lies in the way too.
  for (let round = 0; round < 4; round += 1) {
    for (let n = 0; n < count / 2 + 5; n += 1) await page.keyboard.press("Tab");
    missed = await page.evaluate(() => globalThis.tabbed());
    if (missed.length === 0) return;
  }
  assert.deepEqual(missed, [], `${what}: out of reach of Tab`);
}

/** By keys, and by buttons: nobody has to drag. The focus is on the spans, one of them chosen. */
async function zoomed(page, reach) {
  const { keyboard } = page;
  const grid = page.getByRole("treegrid", { name: "Spans" });
  const bar = grid.getByRole("row", { selected: true }).locator(".bar");
  const width = () => bar.evaluate((element) => Number.parseFloat(element.style.width));
  const status = page.getByRole("status").filter({ hasText: "Zoomed to" });
  const whole = await width();
  await keyboard.press("+");
  await status.waitFor();
  const half = await width();
  assert.ok(half > whole, `${half} is no wider than ${whole}`);
  await keyboard.press("+");
  assert.ok((await width()) > half);
  await keyboard.press("-");
  assert.ok(Math.abs((await width()) - half) < 0.01);
  await keyboard.press("0");
  await status.waitFor({ state: "detached" });
  assert.equal(await width(), whole);
  await reach(page.getByRole("button", { name: "Zoom to span" }), "Shift+Tab");
  await keyboard.press("Enter");
  await status.waitFor();
  assert.ok((await width()) > 99.9, `${await width()} is not all of it`);
  await reach(page.getByRole("button", { name: "Whole trace" }));
  await keyboard.press("Enter");
  await status.waitFor({ state: "detached" });
  await grid.and(page.locator(":focus")).waitFor();
}

/** Narrow, as on half a screen or a telephone: nothing is cut off, and nothing scrolls sideways but tables. */
export async function narrow(browser, { key }) {
  const { page } = browser;
  for (let n = 0; n < 12; n += 1) await browser.request(`/v1/items/${n}`, { headers: { "x-api-key": key } });
  await browser.open("/traces");
  await page.getByRole("link", { name: "GET /v1/items/7" }).waitFor();
  const trace = await page.getByRole("link", { name: "GET /v1/items/7" }).getAttribute("href");
  const paths = ["/", "/traces", new URL(trace, page.url()).pathname, "/routes", "/upstreams", "/plugins", "/plugins/auth", "/exporters", "/exporters/traces", "/otlp", "/configuration"];
  for (const path of paths) {
    // A page is loaded in the narrowest, where most of it has to give way; the others are a window made wider.
    for (const [width, height] of [[390, 844], [800, 900], [1600, 900]]) {
      await page.setViewportSize({ width, height });
      if (width === 390) await browser.open(path);
      await page.locator("h1").waitFor();
      const name = `at-${width}-${path.startsWith("/traces/") ? "trace" : path.slice(1).replace("/", "-") || "overview"}`;
      if (width === 390) await browser.look(name);
      else await browser.shoot(name);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(over <= 0, `${path} scrolls sideways by ${over} at ${width}`);
    }
  }
}

/** Who has just sent a request has its trace in view within a second, in the list and on the first page. */
export async function soon(browser, { admin, key }) {
  const { page } = browser;
  // The page's own time goes on where it is told to alone; that of Weir does not stop.
  await page.clock.install();
  await browser.request("/v1/first", { headers: { "x-api-key": key } });
  for (const path of ["/traces", "/"]) {
    await browser.open(path);
    await page.getByRole("link", { name: "GET /v1/first" }).waitFor();
    // As often as it takes for one that asks more seldom to miss it.
    for (let n = 0; n < 3; n += 1) {
      await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 1000);
      const wanted = `/v1/soon-${n}${path}`;
      await browser.request(wanted, { headers: { "x-api-key": key } });
      while (!(await fetch(`${admin}/api/traces?q=${wanted}`).then((answer) => answer.text())).includes(wanted));
      const told = page.waitForResponse(
        async (response) => new URL(response.url()).pathname === "/api/traces" && (await response.text()).includes(wanted),
      );
      // The rest of a second is Weir's, which writes traces five times in one.
      await Promise.all([told, page.clock.runFor(700)]);
      await page.clock.resume();
      await page.getByRole("link", { name: `GET ${wanted}`, exact: true }).waitFor();
    }
  }
}

/** Light or dark is the system's choice, and nothing moves for who wants it so. */
export async function senses(browser) {
  const { page } = browser;
  await browser.open("/");
  const item = page.getByRole("link", { name: "Traces", exact: true });
  await item.waitFor();
  /** From 0, for black, to 1. */
  const brightness = async (colorScheme) => {
    await page.emulateMedia({ colorScheme });
    const colour = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const parts = colour.match(/[\d.]+/g).slice(0, 3).map(Number);
    return parts.reduce((sum, part) => sum + part, 0) / 3 / 255;
  };
  assert.ok((await brightness("light")) > 0.9);
  assert.ok((await brightness("dark")) < 0.1);
  const moves = async (reducedMotion) => {
    await page.emulateMedia({ reducedMotion });
    return item.evaluate((element) => getComputedStyle(element).transitionDuration !== "0s");
  };
  assert.deepEqual([await moves("no-preference"), await moves("reduce")], [true, false]);
  await item.click();
  await page.getByRole("heading", { name: "Traces", exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
}
