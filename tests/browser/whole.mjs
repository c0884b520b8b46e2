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
  assert.ok((await grid.getByRole("row").count()) < 100, "rows out of view are in the document");
  const large = await handled(page, grid);
  await browser.note("scroll", { spans, small, large });
  assert.ok(large.most < 100, "rows out of view are in the document while it scrolls");
  // Of the page's thread alone, and by what the same machine needs for a small trace at the same time:
  // a machine that does much else would make any figure of its own fail at times.
  for (const figure of ["cpu_ms_a_choice", "cpu_ms_a_frame"]) {
    const [of, than] = [large[figure], small[figure]];
    assert.ok(of < 2 * than, `${figure}: ${of} with ten thousand spans, ${than} with few`);
  }

  await grid.focus();
  await page.keyboard.press("End");
  await grid.getByRole("row", { name: "span 9996", selected: true }).waitFor();
  // A link to a span leads to its row.
  await page.reload();
  await grid.getByRole("row", { name: "span 9996", selected: true }).waitFor();
  await browser.look("trace-large");
}

/** What a trace's spans cost the page's thread: choosing one after the other, and each frame of a scroll. */
async function handled(page, grid) {
  const CHOICES = 20;
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const used = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find((metric) => metric.name === "TaskDuration").value * 1000;
  };
  await grid.focus();
  await page.keyboard.press("Home");
  await grid.getByRole("row", { selected: true, name: "GET hello" }).waitFor();
  const before = await used();
  for (let n = 0; n < CHOICES; n += 1) await page.keyboard.press("ArrowDown");
  await page.evaluate(() => new Promise(requestAnimationFrame));
  const chosen = await used();
  const scrolled = await grid.evaluate(async (element) => {
    // More than what is in view, so that each frame shows other rows.
    const STEP = 1000;
    const frames = [];
    let most = 0;
    let by = STEP;
    let before = await new Promise((done) => requestAnimationFrame(done));
    for (let n = 0; n < 60; n += 1) {
      const end = element.scrollHeight - element.clientHeight;
      if (element.scrollTop + by > end || element.scrollTop + by < 0) by = -by;
      element.scrollTop += by;
      const now = await new Promise((done) => requestAnimationFrame(done));
      frames.push(now - before);
      before = now;
      most = Math.max(most, element.querySelectorAll('[role="row"]').length);
    }
    return { frames, most };
  });
  const end = await used();
  await devtools.detach();
  const sorted = scrolled.frames.sort((a, b) => a - b);
  const part = (of) => Number(sorted[Math.floor((sorted.length - 1) * of)].toFixed(1));
  return {
    cpu_ms_a_choice: Number(((chosen - before) / CHOICES).toFixed(2)),
    // What is left of 16.7 ms is for drawing.
    cpu_ms_a_frame: Number(((end - chosen) / sorted.length).toFixed(2)),
    frame_ms: { p50: part(0.5), p95: part(0.95), p99: part(0.99), most: part(1) },
    later_than_two: sorted.filter((of) => of > 34).length,
    most: scrolled.most,
  };
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
