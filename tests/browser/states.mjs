// What is shown where something is missing or fails.

import assert from "node:assert/strict";

/** Each filter stands in the URL, and leaves the rows that fit. */
export async function filters(browser, { key }) {
  const { page } = browser;
  const headers = { "x-api-key": key };
  const call = JSON.stringify({ model: "gpt-4o", messages: [] });
  await browser.request("/v1/one", { headers });
  await browser.request("/v1/chat/completions", { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: call });
  await browser.request("/v1/secret");
  await browser.request("/nowhere");
  await browser.open("/traces");
  const rows = page.getByRole("table", { name: "Traces" }).getByRole("link");
  const paths = ["/v1/one", "/v1/chat/completions", "/v1/secret", "/nowhere"];
  /** Waits until these paths are all that is there. */
  const shows = async (wanted) => {
    for (const path of paths) {
      const link = rows.filter({ hasText: new RegExp(` ${path}$`) });
      await link.waitFor({ state: wanted.includes(path) ? "visible" : "detached" });
    }
  };
  await shows(paths);
  const served = ["/v1/one", "/v1/chat/completions", "/v1/secret"];
  const form = page.getByRole("search", { name: "Filter traces" });
  for (const [label, name, value, wanted] of [
    ["Path, trace or request id", "q", "/v1/o", ["/v1/one"]],
    ["Time", "span", "5m", paths],
    ["Status", "status", "4xx", ["/v1/secret", "/nowhere"]],
    ["Route", "route", "hello", served],
    ["Plugin", "plugin", "headers", ["/v1/one", "/v1/chat/completions"]],
    ["Answered by", "short_circuit", "true", ["/v1/secret"]],
    ["Model", "model", "gpt-4o", ["/v1/chat/completions"]],
    ["Over, ms", "min_ms", "600000", []],
    ["Under, ms", "max_ms", "600000", paths],
    ["Under, ms", "max_ms", "0", []],
    ["Attribute, key=value", "attribute", "url.path=/v1/secret", ["/v1/secret"]],
  ]) {
    const control = form.getByLabel(new RegExp(`^${label}`));
    const isList = await control.evaluate((element) => element.tagName === "SELECT");
    await (isList ? control.selectOption(value) : control.fill(value));
    await page.waitForURL((url) => url.searchParams.get(name) === value);
    await shows(wanted);
    if (wanted.length === 0) await page.getByRole("heading", { name: "No trace fits these filters" }).waitFor();
    await (isList ? control.selectOption("") : control.fill(""));
    await page.waitForURL((url) => !url.searchParams.has(name));
    await shows(paths);
  }

  // The page's time stands still where the last five minutes begin between two requests; the clock that traces are timed
  // by may be coarse.
  const between = Date.now() + 50;
  while (Date.now() < between + 50) await page.waitForTimeout(10);
  await browser.request("/v1/late", { headers });
  await rows.filter({ hasText: "/v1/late" }).waitFor();
  await page.clock.setFixedTime(between + 5 * 60_000);
  const time = form.getByLabel("Time");
  await time.selectOption("5m");
  await shows([]);
  await rows.filter({ hasText: "/v1/late" }).waitFor();
  await page.getByRole("img", { name: "1 trace, 0 failed, over time" }).waitFor();
  await time.selectOption("1h");
  await shows(paths);
  // Of a time to come, there is none.
  await page.clock.setFixedTime(between + 2 * 60 * 60_000);
  await page.getByRole("heading", { name: "No trace fits these filters" }).waitFor();
}

/** Pages of what is not there, and what the API refuses. */
export async function missing(browser) {
  const { page } = browser;
  await browser.open("/routes/none");
  await page.getByRole("heading", { name: "There is no such page" }).waitFor();
  await browser.look("no-such-page");
  await browser.open(`/traces/${"0".repeat(31)}1`);
  await page.getByRole("heading", { name: "This trace is not here" }).waitFor();
  await browser.look("trace-gone");
  await browser.open("/traces?min_ms=many");
  await page.getByRole("alert").getByText("`min_ms` must be milliseconds").waitFor();
  await browser.look("failure");
}

/** Without a store, and without plugins, pages say what to add, and the rest works. */
export async function unkept(browser) {
  const { page } = browser;
  await browser.open("/traces");
  await page.getByRole("heading", { name: "Recent traces are not kept" }).waitFor();
  await browser.look("traces-not-kept");
  await browser.open(`/traces/${"0".repeat(31)}1`);
  await page.getByRole("heading", { name: "Recent traces are not kept" }).waitFor();
  await browser.open("/");
  await page.getByRole("heading", { name: "Recent traces are not kept" }).waitFor();
  await browser.look("overview-not-kept");
  const send = page.getByRole("region", { name: "Send a request" });
  await send.getByRole("button", { name: "Send", exact: true }).click();
  await send.getByRole("status").getByText("after").waitFor();
  await browser.open("/plugins");
  await page.getByRole("heading", { name: "No plugin is configured" }).waitFor();
  await browser.look("plugins-empty");
}

/** Endpoints that are left out say why. */
export async function upstreams(browser) {
  const { page } = browser;
  await browser.open("/upstreams");
  await page.getByText("1 of 2 endpoints is left out").waitFor();
  await page.getByText("Left out: unhealthy").waitFor();
  await page.getByRole("row", { name: /^127\.0\.0\.1:1 up Left out: unhealthy \d+ plain HTTP cannot connect/ }).waitFor();
  await page.getByRole("row", { name: /^up hello 0 – – 0 of [\d,]+ 0 none$/ }).waitFor();
  await browser.look("upstreams-out");
}

/** When certificates of endpoints expire, and which do soon. */
export async function certificates(browser) {
  const { page } = browser;
  await browser.open("/upstreams");
  const row = (upstream) => page.getByRole("table", { name: "Endpoints" }).getByRole("row", { name: ` ${upstream} ` });
  await row("soon").getByText("not seen yet").waitFor();
  for (const path of ["/soon", "/lasting"]) assert.equal((await browser.request(path)).status, 200);
  await row("soon").locator(".state.bad", { hasText: /^expires in 5 d$/ }).waitFor();
  const lasting = row("lasting").getByText(/^expires in \d{4,} d$/);
  await lasting.waitFor();
  assert.equal(await lasting.evaluate((element) => element.className), "");
  await browser.look("upstreams-certificates");
}

/** Without an upstream, its page says how one is named. */
export async function nowhere(browser) {
  const { page } = browser;
  await browser.open("/upstreams");
  await page.getByRole("heading", { name: "No upstream is configured" }).waitFor();
  await browser.look("upstreams-empty");
}

/** Exporters that do not deliver say why, what waits, and what was given up. */
export async function failing(browser, { key }) {
  const { page } = browser;
  for (let n = 0; n < 3; n += 1) await browser.request(`/v1/${n}`, { headers: { "x-api-key": key } });
  await browser.open("/");
  const row = page.getByRole("table", { name: "Exporters" }).getByRole("row", { name: /^away/ });
  await row.getByText("Not delivering").waitFor();
  await row.getByText("127.0.0.1:1").waitFor();
  await page.getByText(/^Spool: \d.* of .* on the disk$/).waitFor();
  await browser.look("overview-failing");
  // How each state looks, but for its colour.
  const looks = await page.locator(".state").evaluateAll((states) => {
    const looks = {};
    for (const state of states) {
      const { borderRadius, clipPath, rotate } = getComputedStyle(state, "::before");
      looks[state.textContent.trim()] = `${borderRadius} ${clipPath} ${rotate}`;
    }
    return looks;
  });
  assert.notEqual(looks["Delivering"], looks["Not delivering"]);
  assert.ok(looks["Delivering"] && !("" in looks), JSON.stringify(looks));
  const menu = page.getByRole("navigation", { name: "Pages" });
  await menu.getByRole("link", { name: "Kafka 1 failing" }).click();
  await page.getByText("Traces wait for Kafka on the disk").waitFor();
  await page.getByRole("link", { name: "away", exact: true }).click();
  const figure = (name) => page.locator(".figure", { hasText: name });
  await page.getByRole("status").filter({ hasText: "127.0.0.1:1" }).waitFor();
  await figure("Acknowledged").getByText("0", { exact: true }).waitFor();
  await figure("Oldest waits").getByText(/^\d+ s$/).waitFor();
  await figure("Oldest waits").getByText(/^spool [1-9]/).waitFor();
  await browser.look("kafka-failing");
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.locator(".save-bar .state.bad").waitFor();
  await browser.open("/exporters/lossy");
  await figure("Dropped").getByText("refused 3", { exact: true }).waitFor();
  await browser.open("/exporters/letters");
  await figure("Dead letters").getByText("refused 3", { exact: true }).waitFor();
  assert.equal(await figure("Dropped").locator("small").textContent(), "none");
}
