// What people do with the console, page by page; what is true of all pages is in `whole.mjs`.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

export { ejected, elsewhere, gone, memory, refusing } from "./failures.mjs";
export { secured } from "./secured.mjs";
export { certificates, failing, filters, missing, nowhere, unkept, upstreams } from "./states.mjs";
export { found } from "./spans.mjs";
export { keyboard, large, narrow, reached, senses, soon } from "./whole.mjs";

/** The trace of a request that was just sent is found, and read, by mouse and by keyboard. */
export async function traces(browser, { key }) {
  const { page } = browser;
  await browser.open("/traces");
  await page.getByRole("heading", { name: "No traces yet" }).waitFor();
  await browser.look("traces-empty");

  for (let n = 0; n < 12; n += 1) await browser.request(`/v1/items/${n}`, { headers: { "x-api-key": key } });
  await browser.request("/v1/secret");
  await browser.request("/nowhere");
  await page.getByRole("link", { name: "GET /v1/secret" }).waitFor();
  await page.getByText("answered by auth").waitFor();
  await browser.look("traces");
  await page.getByRole("img", { name: "14 traces, 0 failed, over time" }).waitFor();
  await page.getByText("As a table").click();
  const counts = await page.locator(".histogram tbody td:nth-child(2)").allTextContents();
  assert.equal(counts.reduce((sum, count) => sum + Number(count), 0), 14);

  // Filters stand in the URL, and a reload keeps them.
  await page.getByLabel("Status").selectOption("4xx");
  await page.getByRole("link", { name: "GET /v1/items/3" }).waitFor({ state: "detached" });
  assert.match(page.url(), /status=4xx/);
  await page.reload();
  await page.getByRole("link", { name: "GET /nowhere" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "GET /v1/items/3" }).count(), 0);
  await page.getByRole("button", { name: "Clear all" }).click();

  await page.getByRole("link", { name: "GET /v1/items/3" }).click();
  await page.getByRole("treegrid", { name: "Spans" }).waitFor();
  const row = (name) => page.getByRole("row", { name });
  await row("plugin.auth.prehook").waitFor();
  assert.ok((await row("plugin.").count()) >= 5);
  await browser.look("trace");
  await row("plugin.auth.prehook").click();
  const drawer = page.getByRole("complementary", { name: "Span" });
  await drawer.getByText("weir.hook.module_digest").waitFor();
  const said = (what) => drawer.locator(`xpath=.//dt[.="${what}"]/following-sibling::dd[1]`).textContent();
  assert.equal(await said("Decision"), "continue");
  for (const what of ["Start", "Duration", "CPU"]) assert.match(await said(what), /^\+?[\d.]+ (ns|µs|ms)/);
  assert.match(await said("Guest memory"), /^[\d.]+ [KM]iB$/);
  assert.match(page.url(), /span=/);
  await browser.look("trace-span");
  // The README's picture.
  await page.setViewportSize({ width: 1200, height: 580 });
  await browser.picture("trace");
  await page.setViewportSize({ width: 1280, height: 800 });

  // A part of the map is dragged over, and is what the rows show.
  const map = await page.locator(".minimap").boundingBox();
  const across = (part) => page.mouse.move(map.x + map.width * part, map.y + map.height / 2);
  await across(0.3);
  await page.mouse.down();
  await across(0.5);
  await across(0.7);
  await page.mouse.up();
  await page.getByRole("status").filter({ hasText: "Zoomed to" }).waitFor();
  await page.getByRole("button", { name: "Whole trace" }).click();

  // The whole way by keyboard.
  await page.getByRole("treegrid", { name: "Spans" }).focus();
  await page.keyboard.press("Home");
  await drawer.getByRole("heading", { name: "GET hello" }).waitFor();
  await page.keyboard.press("ArrowDown");
  await drawer.getByRole("heading", { name: "plugin.request-id.prehook" }).waitFor();
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowLeft");
  await row("plugin.auth.prehook").waitFor({ state: "detached" });
  await page.keyboard.press("ArrowRight");
  await row("plugin.auth.prehook").waitFor();
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });

  await page.getByRole("tab", { name: "Headers" }).click();
  await page.getByRole("cell", { name: "x-api-key" }).waitFor();
  await page.getByRole("cell", { name: "REDACTED" }).waitFor();
  assert.ok(!(await page.content()).includes(key), "a credential is in the page");
  await browser.look("trace-headers");
  await page.getByRole("tab", { name: "Logs" }).click();
  await browser.look("trace-logs");
  const [file] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Download" }).click(),
  ]);
  const whole = JSON.parse(await readFile(await file.path(), "utf8"));
  assert.equal(file.suggestedFilename(), `trace-${whole.TraceID}.json`);
  assert.equal(whole.Spans[0].Attributes["url.path"], "/v1/items/3");
}

/** Traces show as they end, those that fit; paused, they wait. */
export async function live(browser, { key }) {
  const { page } = browser;
  await browser.open("/traces?live=1&status=2xx");
  await page.getByText("Traces show as they end").waitFor();
  await browser.look("traces-live-empty");
  await browser.request("/v1/refused");
  await browser.request("/v1/first", { headers: { "x-api-key": key } });
  await page.getByRole("link", { name: "GET /v1/first" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "GET /v1/refused" }).count(), 0);
  await page.getByRole("button", { name: "Pause" }).click();
  await browser.request("/v1/second", { headers: { "x-api-key": key } });
  await page.getByRole("button", { name: "Resume (1 waiting)" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "GET /v1/second" }).count(), 0);
  await browser.look("traces-live");
  await page.getByRole("button", { name: "Resume (1 waiting)" }).click();
  await page.getByRole("link", { name: "GET /v1/second" }).waitFor();
}

/** From no exporter to messages in a topic. */
export async function kafka(browser, { key, broker, topic }) {
  const { page } = browser;
  await browser.open("/");
  await page.getByRole("heading", { name: "Traces go nowhere yet" }).waitFor();
  await browser.look("overview-empty");
  await page.getByRole("link", { name: "Add a Kafka exporter" }).click();
  await page.getByRole("heading", { name: "Traces go nowhere yet" }).waitFor();
  await browser.look("kafka-empty");
  await page.getByRole("button", { name: "Add Kafka exporter" }).click();
  await page.getByText("not configured yet").waitFor();
  await page.getByLabel("topic", { exact: false }).first().waitFor();
  await browser.look("kafka-form-empty");

  // Faults are told at the key they are about.
  await page.getByLabel("topic required").fill("no such/name");
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "Save to the file" });
  await sheet.getByText("exporters.traces.kafka.brokers").waitFor();
  assert.ok(await sheet.getByRole("button", { name: "Write and reload" }).isDisabled());
  await browser.look("kafka-faults");
  await page.keyboard.press("Escape");
  await page.getByText("must be a topic name").waitFor();

  await page.getByLabel("brokers required").fill(broker);
  await page.getByLabel("topic required").fill(topic);
  await page.getByLabel("flush_interval_ms").fill("10");
  await page.getByRole("button", { name: "Test connection" }).click();
  await page.getByText(`connected, and topic "${topic}" is there`).waitFor();
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  await sheet.getByText(`topic: ${topic}`).waitFor();
  await browser.look("kafka-difference");
  await sheet.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();

  await browser.request("/v1/delivered", { headers: { "x-api-key": key } });
  await page.getByText("Delivering").waitFor();
  await page.locator(".figure", { hasText: "Acknowledged" }).getByText("1", { exact: true }).waitFor();
  await browser.look("kafka-form");
  await browser.open("/exporters");
  await page.getByRole("link", { name: "traces", exact: true }).waitFor();
  await browser.look("kafka-list");
}

/** The switch of a plugin takes its spans from the topic; the enabled switch the exporter from work. */
export async function tracing(browser, { key, topic }) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  await page.getByRole("button", { name: "Configure Plugin Tracing" }).click();
  const sheet = page.getByRole("dialog", { name: "Configure Plugin Tracing" });
  await sheet.getByRole("switch", { name: "auth", exact: true }).click();
  await browser.look("kafka-tracing");
  await sheet.getByRole("button", { name: "Save" }).click();
  const save = page.getByRole("dialog", { name: "Save to the file" });
  await save.getByText("plugin_span_filter").waitFor();
  await save.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();
  await browser.request("/v1/quiet", { headers: { "x-api-key": key } });
  await page.locator(".figure", { hasText: "Acknowledged" }).getByText("1", { exact: true }).waitFor();

  await browser.open("/traces");
  await page.getByRole("link", { name: "GET /v1/quiet" }).click();
  await page.getByRole("row", { name: "plugin.auth.prehook" }).waitFor();
  await page.getByRole("tab", { name: "Message as exported" }).click();
  const message = page.getByLabel("Message", { exact: true });
  await message.filter({ hasText: "plugin.headers.prehook" }).waitFor();
  assert.ok(!(await message.textContent()).includes("plugin.auth."));
  await page.getByText(`to topic ${topic}`).waitFor();
  await browser.look("trace-message");
  await page.getByRole("button", { name: "What they took" }).click();
  await page.locator(".diff .del", { hasText: "plugin.auth.prehook" }).waitFor();
  await browser.look("trace-message-taken");
  await page.getByRole("button", { name: "Before", exact: true }).click();
  await message.filter({ hasText: "plugin.auth.prehook" }).waitFor();

  await browser.open("/exporters/traces");
  await page.getByRole("heading", { name: "One message" }).click();
  await page.getByLabel("Message", { exact: true }).filter({ hasText: "plugin.headers.prehook" }).waitFor();
  await browser.look("kafka-message");
  await page.getByRole("switch", { name: "Enabled", exact: true }).click();
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  await save.getByText("enabled: false").waitFor();
  await save.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Disabled").first().waitFor();
}

/** A list of plugins to include stays one: who is switched on is added to it. */
export async function include(browser) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  await page.getByRole("button", { name: "Configure Plugin Tracing" }).click();
  const sheet = page.getByRole("dialog", { name: "Configure Plugin Tracing" });
  const state = (name) => sheet.getByRole("switch", { name, exact: true }).getAttribute("aria-checked");
  assert.deepEqual([await state("auth"), await state("headers")], ["false", "true"]);
  await sheet.getByRole("switch", { name: "auth", exact: true }).click();
  await browser.look("kafka-tracing-include");
  await sheet.getByRole("button", { name: "Save" }).click();
  const save = page.getByRole("dialog", { name: "Save to the file" });
  await save.getByText("auth").first().waitFor();
  await save.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();
}

/** What somebody else wrote to the file meanwhile is not lost. */
export async function conflict(browser, { file, text }) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  await page.getByLabel("batch_size", { exact: true }).fill("7");
  const { writeFile } = await import("node:fs/promises");
  await writeFile(file, text);
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "Save to the file" });
  await sheet.getByText("The file was changed by somebody else").waitFor();
  assert.ok(await sheet.getByRole("button", { name: "Write and reload" }).isDisabled());
  await browser.look("kafka-conflict");
  await sheet.getByRole("button", { name: "Read the file anew" }).click();
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  await sheet.getByText("batch_size: 7").waitFor();
  await sheet.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();
}

/** Values from elsewhere are locked and say why; a file that cannot be written is shown to be copied. */
export async function locked(browser) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  await page.getByText("read-only:").first().waitFor();
  assert.ok(await page.getByLabel("compression", { exact: true }).isDisabled());
  await page.getByText("Set by the variable WEIR__EXPORTERS__TRACES__KAFKA__COMPRESSION").waitFor();
  await page.getByLabel("batch_size", { exact: true }).fill("7");
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "What to write into the file" });
  await sheet.getByText("batch_size: 7").waitFor();
  assert.equal(await sheet.getByRole("button", { name: "Write and reload" }).count(), 0);
  await browser.look("kafka-read-only");
  await browser.withClipboard(async () => {
    await sheet.getByRole("button", { name: "Copy YAML" }).click();
    await sheet.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await browser.pasted(), await sheet.locator("pre").textContent());
  });
  await page.keyboard.press("Escape");
  await browser.open("/configuration");
  const value = (text) => page.locator(".yaml .row", { hasText: text }).locator(".source");
  await value(/^ *compression: "lz4"/).getByText("WEIR__EXPORTERS__TRACES__KAFKA__COMPRESSION").waitFor();
  await value(/^ *flush_interval_ms: 10/).getByText(/^line \d+$/).waitFor();
  await value(/^ *auto_create_topic: false/).getByText("default").waitFor();
  await browser.look("configuration");
  // Its file is read-only, and is reloaded all the same.
  await page.getByRole("button", { name: "Reload" }).waitFor();
  await page.getByRole("switch", { name: "Only what is written" }).click();
  await browser.look("configuration-written");
}

/** Where others reach the address, browsers keep the clipboard from the page: YAML is copied all the same. */
export async function copied(browser) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  assert.equal(await page.evaluate(() => isSecureContext), false);
  await browser.open("/");
  const send = page.getByRole("region", { name: "Send a request" });
  await send.getByText("can be reached by other machines").waitFor();
  assert.equal(await send.getByRole("button").count(), 0);
  await browser.open("/exporters/traces");
  await page.getByLabel("batch_size", { exact: true }).fill("7");
  await page.getByLabel("flush_interval_ms", { exact: true }).fill("");
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "What to write into the file" });
  await sheet.getByText("can be reached by other machines").waitFor();
  const yaml = "# remove exporters.traces.kafka.flush_interval_ms\nexporters:\n  traces:\n    kafka:\n      batch_size: 7\n";
  await browser.withClipboard(async () => {
    await sheet.getByRole("button", { name: "Copy YAML" }).click();
    await sheet.getByRole("button", { name: "Copied" }).and(page.locator(":focus")).waitFor();
    assert.equal(await browser.pasted(), yaml);
  });
  // Nor is a reload for strangers to ask for.
  await browser.open("/configuration");
  await page.getByRole("main").getByText("can be reached by other machines").waitFor();
  assert.equal(await page.getByRole("button", { name: "Reload" }).count(), 0);
}

/** A file that cannot be edited in its place: what is wrong, and the YAML. */
export async function anchored(browser) {
  const { page } = browser;
  await browser.open("/exporters/second");
  await page.getByLabel("batch_size", { exact: true }).fill("7");
  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "What to write into the file" });
  await sheet.getByText("written in a form that cannot be edited here").waitFor();
  await sheet.getByText("batch_size: 7").waitFor();
  assert.equal(await sheet.getByRole("button", { name: "Write and reload" }).count(), 0);
}

/** All other pages, with traffic. */
export async function pages(browser, { key }) {
  const { page } = browser;
  for (let n = 0; n < 30; n += 1) await browser.request(`/v1/${n}`, { headers: { "x-api-key": key } });
  await browser.request("/v1/without");
  await browser.open("/");
  await page.getByRole("heading", { name: "Latest traces" }).waitFor();
  await page.getByRole("link", { name: "GET /v1/without" }).waitFor();
  const figure = (name) => page.locator(".figure", { hasText: name });
  await figure("Requests a second").getByText("31 since the start").waitFor();
  await figure("Errors a second").getByText("0.00 % since the start").waitFor();
  for (const name of ["Duration, p50", "Weir’s own time, p50", "Upstream’s time, p50"]) {
    await figure(name).getByText(/^p99 [\d.]+ (µs|ms|s)$/).waitFor();
  }
  const parts = page.getByRole("table", { name: "Plugins and upstreams" });
  await parts.getByRole("row", { name: /^up upstream 30 [\d.]+ (µs|ms|s) [\d.]+ (µs|ms|s) none$/ }).waitFor();
  await parts.getByRole("row", { name: /^auth prehook 31 [\d.]+ (µs|ms|s) [\d.]+ (µs|ms|s) none$/ }).waitFor();
  await browser.look("overview");
  await page.getByText("The last two minutes as a table").click();
  await browser.request("/v1/counted", { headers: { "x-api-key": key } });
  await page.locator(".chart tbody td:nth-child(2)").getByText(/^0\.[1-9]$/).first().waitFor();
  // A request from here opens its trace.
  const send = page.getByRole("region", { name: "Send a request" });
  assert.equal(await send.getByLabel("Path, or URL with host").inputValue(), "/v1/");
  await send.getByLabel("Path, or URL with host").fill("/v1/from-here");
  await send.getByLabel("Headers, one a line").fill(`x-api-key: ${key}`);
  await send.getByRole("button", { name: "Send, and open its trace" }).click();
  await page.getByRole("heading", { name: "GET /v1/from-here" }).waitFor();
  await page.getByRole("row", { name: "plugin.headers.prehook" }).waitFor();
  const menu = page.getByRole("navigation", { name: "Pages" });
  await menu.getByRole("link", { name: "Routes" }).click();
  await page.getByText("Listener 127.0.0.1:0 request-id").waitFor();
  const hello = page.getByRole("row", { name: /^hello/ });
  await hello.getByText(/ ago$/).waitFor();
  assert.deepEqual(await hello.locator(".chip").allTextContents(), ["request-id listener", "auth", "headers"]);
  const [, to, rate, requests] = await hello.getByRole("cell").allTextContents().then((cells) => cells.slice(1));
  assert.match(`${to} ${rate} ${requests}`, /^up \d+\.\d 33$/);
  await page.getByLabel("Path, or URL with host").fill("http://any.test/v1/x");
  await page.getByRole("button", { name: "Test", exact: true }).click();
  await page.getByText("It takes hello").waitFor();
  await browser.look("routes");
  await page.getByLabel("Path, or URL with host").fill("/v1/../x");
  await page.getByLabel("Headers, one a line").fill("x-one: 1\nx-two: 2");
  await page.getByRole("button", { name: "Test", exact: true }).click();
  await page.getByText("Weir answers 400, for the path holds a dot segment").waitFor();
  assert.deepEqual(new URL(page.url()).searchParams.getAll("header"), ["x-one: 1", "x-two: 2"]);
  await menu.getByRole("link", { name: "Upstreams" }).click();
  await page.getByRole("rowheader", { name: "up" }).waitFor();
  await browser.look("upstreams");
  await menu.getByRole("link", { name: "Plugins" }).click();
  await page.getByRole("link", { name: "auth" }).waitFor();
  await browser.look("plugins");
  await page.getByRole("link", { name: "auth" }).click();
  await page.getByRole("heading", { name: "Its latest traces" }).waitFor();
  await page.getByText(/Runs on route hello\.\s*Core module, SHA-256 [0-9a-f]{64}$/).waitFor();
  const hooks = page.getByRole("table", { name: "Hooks" });
  for (const hook of ["prehook", "posthook"]) {
    await hooks.getByRole("row", { name: new RegExp(`^${hook} 33 [\\d.]+ (µs|ms|s) [\\d.]+ (µs|ms|s) none$`) }).waitFor();
  }
  await page.getByRole("link", { name: "GET /v1/without" }).waitFor();
  await figure("Instances").getByText(/^[1-9]\d*$/).waitFor();
  await figure("Memory").getByText(/^[1-9][\d.]* [KM]iB$/).waitFor();
  await figure("Breaker").getByText("Closed").waitFor();
  await browser.look("plugin");
  await menu.getByRole("link", { name: "OTLP" }).click();
  await page.getByRole("heading", { name: "Nothing is received" }).waitFor();
  await browser.look("otlp-empty");
}

/** A plugin that keeps failing: its breaker, its failures by reason, and what it wrote. */
export async function broken(browser) {
  const { page } = browser;
  for (let n = 0; n < 5; n += 1) await browser.request(`/v1/${n}`);
  await browser.open("/plugins");
  await page.getByRole("row", { name: /^mad/ }).getByText("open", { exact: true }).waitFor();
  await browser.look("plugins-broken");
  await page.getByRole("link", { name: "mad" }).click();
  await page.getByText("Its breaker is open in 1 of 1 worker:").waitFor();
  await page.locator(".figure", { hasText: "Breaker" }).getByText("Open", { exact: true }).waitFor();
  await page.getByText("trap 3").first().waitFor();
  await page.getByText("It wrote no line during recent requests").waitFor();
  await browser.look("plugin-broken");
  // In its trace, a key leads to the span that failed.
  await page.getByRole("region", { name: "Traces of the plugin" }).getByRole("link", { name: "GET /v1/0" }).click();
  const spans = page.getByRole("treegrid", { name: "Spans" });
  await spans.press("n");
  await spans.getByRole("row", { name: /plugin\.mad\./, selected: true }).waitFor();
  await page.getByRole("search", { name: "Find spans" }).getByText(/^1 of \d in error$/).waitFor();
  await browser.open("/plugins/chatty");
  await page.getByRole("cell", { name: "人口調査" }).first().waitFor();
  await browser.look("plugin-logs");
  // The same lines stand at the trace, and at the hook that wrote them.
  await page.getByRole("table", { name: "Lines" }).getByRole("link").first().click();
  await page.getByRole("row", { name: "plugin.chatty.prehook" }).click();
  const drawer = page.getByRole("complementary", { name: "Span" });
  await drawer.getByRole("heading", { name: "Log of the plugin" }).waitFor();
  await drawer.getByRole("heading", { name: "Events" }).waitFor();
  await browser.look("trace-span-logs");
  await page.getByRole("tab", { name: /^Logs [1-9]/ }).click();
  await page.getByRole("row", { name: /chatty warn warn$/ }).first().waitFor();
}

/** What was loaded when, what was refused and why, and what the file says that is not served. */
export async function generations(browser, { file, good, bad }) {
  const { page } = browser;
  const { writeFile } = await import("node:fs/promises");
  await browser.open("/configuration");
  const table = page.getByRole("table", { name: "Generations" });
  await table.getByText("Started").waitFor();
  await writeFile(file, good);
  await page.getByText("The file says something else than what is served").waitFor();
  await page.locator(".diff .add", { hasText: "batch_size: 9" }).waitFor();
  await browser.look("configuration-pending");
  await page.getByRole("button", { name: "Reload" }).click();
  await table.getByText("Reloaded").waitFor();
  await page.getByText("The file says something else").waitFor({ state: "detached" });
  await writeFile(file, bad);
  await page.getByRole("button", { name: "Reload" }).click();
  await table.getByText("A reload changed nothing").waitFor();
  await page.getByText("exporters.traces.kafka.batch_size").first().waitFor();
  await browser.look("configuration-faults");
}

/** A plugin's own keys are a form, and a save changes the file and what requests meet. */
export async function plugin(browser, { key }) {
  const { page } = browser;
  await browser.open("/plugins/auth");
  await page.getByLabel("config.header").waitFor();
  assert.ok(!(await page.content()).includes(key), "a key is in the page");
  await page.getByLabel("config.header").fill("x-other-key");
  await browser.look("plugin-form");
  await page.getByRole("button", { name: "Save plugin" }).click();
  const save = page.getByRole("dialog", { name: "Save to the file" });
  await save.getByText("header:").waitFor();
  await save.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();
  assert.equal((await browser.request("/v1/a", { headers: { "x-api-key": key } })).status, 401);
  assert.equal((await browser.request("/v1/a", { headers: { "x-other-key": key } })).status, 200);
}

/** What others send, by signal and protocol, and what it takes to send more. */
export async function otlp(browser, { otlp }) {
  const { page } = browser;
  const send = (signal, body) =>
    fetch(`${otlp}/v1/${signal}`, { method: "POST", headers: { "content-type": "application/json" }, body });
  await browser.open("/otlp");
  await page.getByRole("heading", { name: "Send here" }).waitFor();
  const record = { timeUnixNano: "1", body: { stringValue: "hello" } };
  const logs = { resourceLogs: [{ scopeLogs: [{ logRecords: [record, record, record] }] }] };
  assert.equal((await send("logs", JSON.stringify(logs))).status, 200);
  assert.equal((await send("traces", "{nonsense")).status, 400);
  const row = page.getByRole("table", { name: "Received" }).getByRole("row", { name: "http/json" });
  await row.filter({ hasText: "logs" }).getByRole("cell", { name: "3", exact: true }).waitFor();
  await row.filter({ hasText: "traces" }).getByText("malformed 1").waitFor();
  const queue = page.getByRole("table", { name: "Queues" }).getByRole("row", { name: /^logs Delivering/ });
  await queue.getByRole("cell", { name: /^0 B of / }).waitFor();
  await queue.getByRole("cell", { name: "1", exact: true }).waitFor();
  const variables = await page.getByLabel("Variables for HTTP").textContent();
  assert.match(variables, /OTEL_EXPORTER_OTLP_ENDPOINT=http:\/\/127\.0\.0\.1:\d+\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http\/protobuf/);
  await browser.look("otlp");
}

/** What the command line sets rules over the file, and says so where it cannot be changed. */
export async function overridden(browser) {
  const { page } = browser;
  await browser.open("/exporters/traces");
  await page.getByText("Set by --set exporters.traces.kafka.batch_size, which rules over the file").waitFor();
  const field = page.getByLabel("batch_size", { exact: true });
  assert.deepEqual([await field.isDisabled(), await field.inputValue()], [true, "500"]);
  await browser.look("kafka-overridden");
  await browser.open("/configuration");
  const row = page.locator(".yaml .row", { hasText: /^ *batch_size: 500/ });
  await row.locator(".source").getByText("--set exporters.traces.kafka.batch_size").waitFor();
}

/** The token is asked for once, and pages that were asked for come then. */
export async function login(browser, { token }) {
  const { page } = browser;
  await browser.open("/traces");
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("That is not the token.").waitFor();
  await browser.look("login");
  await page.getByLabel("Admin token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "No traces yet" }).waitFor();
  assert.match(page.url(), /\/traces$/);
  assert.ok(!(await page.content()).includes(token));
}
