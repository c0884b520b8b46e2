// Spans of one trace: found by what they say, walked through by keys, and their values taken elsewhere.

import assert from "node:assert/strict";

/** A span is found by what it says, also in what is folded; its values are copied, and lead to other traces. */
export async function found(browser, { key }) {
  const { page } = browser;
  const headers = { "x-api-key": key };
  for (const path of ["/v1/this", "/v1/other"]) await browser.request(path, { headers });
  await browser.open("/traces");
  await page.getByRole("link", { name: "GET /v1/this" }).click();
  const grid = page.getByRole("treegrid", { name: "Spans" });
  const drawer = page.getByRole("complementary", { name: "Span" });
  const status = page.getByRole("search", { name: "Find spans" }).getByRole("status");
  const chosen = (name) => grid.getByRole("row", { name, selected: true });
  await grid.waitFor();

  // By an attribute; then by a name, whose row was folded away.
  await grid.focus();
  await page.keyboard.press("/");
  const input = page.getByLabel("Find in spans");
  await input.and(page.locator(":focus")).fill("url.path=/v1/this");
  await status.getByText("1 found", { exact: true }).waitFor();
  await page.keyboard.press("Enter");
  await chosen("GET hello").waitFor();
  await status.getByText("1 of 1 found", { exact: true }).waitFor();
  await grid.focus();
  await page.keyboard.press("ArrowLeft");
  await grid.getByRole("row", { name: "plugin.auth.prehook" }).waitFor({ state: "detached" });
  await input.fill("PLUGIN.AUTH.");
  await status.getByText("2 found", { exact: true }).waitFor();
  await input.press("Enter");
  await chosen("plugin.auth.prehook").waitFor();
  assert.equal(await grid.locator("mark").count(), 2);
  await browser.look("trace-found");
  for (const [press, name] of [["n", "plugin.auth.posthook"], ["n", "plugin.auth.prehook"], ["p", "plugin.auth.posthook"]]) {
    await grid.press(press);
    await chosen(name).waitFor();
  }
  await page.getByRole("button", { name: "Previous", exact: true }).click();
  await chosen("plugin.auth.prehook").waitFor();
  await input.fill("no such thing");
  await status.getByText("none found").waitFor();
  await input.press("Escape");
  await grid.and(page.locator(":focus")).waitFor();
  assert.equal(await input.inputValue(), "");
  assert.equal(await grid.locator("mark").count(), 0);

  // What the upstream took is no time of the request's own, though it is no child of the request's span.
  await page.keyboard.press("Home");
  await drawer.getByRole("heading", { name: "GET hello" }).waitFor();
  const took = (text) => {
    const [, value, unit] = /([\d.]+) (ns|µs|ms|s)/.exec(text);
    return Number(value) * { ns: 1, µs: 1e3, ms: 1e6, s: 1e9 }[unit];
  };
  const all = await drawer.locator(`xpath=.//dt[.="Duration"]/following-sibling::dd[1]`).textContent();
  const call = await grid.getByRole("row", { name: /^GET starts/ }).locator(".time").textContent();
  const [whole, own] = all.split("(").map(took);
  // Figures have three digits.
  assert.ok(own <= (whole - took(call)) * 1.02 + 0.01 * whole, `${all}, of which the upstream ${call}`);

  await browser.withClipboard(async () => {
    await drawer.getByRole("button", { name: "Copy url.path", exact: true }).click();
    await drawer.getByRole("button", { name: "Copied" }).waitFor();
    await input.focus();
    assert.equal(await browser.pasted(), "/v1/this");
  });
  await browser.withClipboard(async () => {
    await drawer.getByRole("button", { name: "Copy link" }).click();
    await drawer.getByRole("button", { name: "Copied" }).first().waitFor();
    await grid.focus();
    assert.equal(await browser.pasted(), page.url());
  });
  await drawer.getByRole("link", { name: "Traces with it: url.path", exact: true }).click();
  await page.getByRole("link", { name: "GET /v1/this" }).waitFor();
  await page.getByRole("link", { name: "GET /v1/other" }).waitFor({ state: "detached" });
  assert.equal(new URL(page.url()).searchParams.get("attribute"), "url.path=/v1/this");
}
