// What is true of the console as a whole: large traces, the keyboard alone, wide and narrow screens.

import assert from "node:assert/strict";

/** A large trace scrolls: only what is in view is in the document. */
export async function large(browser, { key }) {
  const { page } = browser;
  await browser.request("/v1/one", { headers: { "x-api-key": key } });
  await browser.open("/traces");
  const link = page.getByRole("link", { name: "GET /v1/one" });
  await link.waitFor();
  // A real answer, with ten thousand spans more than Weir would make.
  await page.route("**/api/traces/*", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    if (!body.trace) return route.fulfill({ response });
    const call = body.trace.Spans.at(-1);
    for (let n = 0; n < 10_000; n += 1) {
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
  assert.ok((await grid.getByRole("row").count()) < 100, "rows out of view are in the document");
  await grid.focus();
  await page.keyboard.press("End");
  await grid.getByRole("row", { selected: true }).waitFor();
  // Every frame of a scroll from top to bottom. The figures are left for people, beside the pictures:
  // a machine that does much else at the same time would make an assertion of them fail at times.
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const used = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find((metric) => metric.name === "TaskDuration").value * 1000;
  };
  const before = await used();
  const scrolled = await grid.evaluate(async (element) => {
    const long = [];
    const observer = new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration)));
    observer.observe({ type: "longtask" });
    const frames = [];
    let most = 0;
    let before = await new Promise((done) => requestAnimationFrame(done));
    for (let n = 0; n <= 240; n += 1) {
      element.scrollTop = ((element.scrollHeight - element.clientHeight) * n) / 240;
      const now = await new Promise((done) => requestAnimationFrame(done));
      frames.push(now - before);
      before = now;
      most = Math.max(most, element.querySelectorAll('[role="row"]').length);
    }
    observer.disconnect();
    return { frames, long, most };
  });
  const cpu = (await used()) - before;
  assert.ok(scrolled.most < 100, "rows out of view are in the document while it scrolls");
  await grid.getByRole("row", { name: "span 9996" }).first().waitFor();
  const sorted = [...scrolled.frames].sort((a, b) => a - b);
  const part = (of) => Number(sorted[Math.floor((sorted.length - 1) * of)].toFixed(1));
  await browser.note("scroll", {
    spans: 10_000,
    frames: sorted.length,
    // Of the page's thread; what is left of 16.7 ms is for drawing.
    cpu_ms_a_frame: Number((cpu / sorted.length).toFixed(2)),
    frame_ms: { p50: part(0.5), p95: part(0.95), p99: part(0.99), most: part(1) },
    frames_a_second: Math.round((1000 * sorted.length) / sorted.reduce((sum, of) => sum + of, 0)),
    later_than_two: sorted.filter((of) => of > 34).length,
    long_tasks_ms: scrolled.long,
  });
  await browser.look("trace-large");
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
  for (const [width, height] of [[1600, 900], [760, 900], [390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const path of paths) {
      await browser.open(path);
      await page.locator("h1").waitFor();
      const name = `at-${width}-${path.startsWith("/traces/") ? "trace" : path.slice(1).replace("/", "-") || "overview"}`;
      if (width === 390) await browser.look(name);
      else await browser.shoot(name);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(over <= 0, `${path} scrolls sideways by ${over} at ${width}`);
    }
  }
}
