// What is shown where Weir, an endpoint or the disk fails, and that it is shown no more once all is well.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { promisify } from "node:util";

/** Weir is gone: pages say so, what they showed stays, and they go on when it is back. */
export async function gone(browser, { admin, key, pid, weir, file }) {
  const { page } = browser;
  const headers = { "x-api-key": key };
  const side = page.getByRole("navigation", { name: "Pages" });
  const tail = page.getByRole("status").filter({ hasText: /Traces show|Connection lost/ });
  await browser.open("/traces?live=1");
  await tail.getByText("Traces show as they end").waitFor();
  await browser.request("/v1/before", { headers });
  await page.getByRole("link", { name: "GET /v1/before" }).waitFor();

  process.kill(pid, "SIGKILL");
  await tail.getByText("Connection lost, trying again").waitFor();
  await side.getByText("Weir does not answer").waitFor();
  assert.equal(await page.getByRole("link", { name: "GET /v1/before" }).count(), 1);
  await browser.look("gone-live");

  const again = spawn(weir, ["run", "--config", file, "--no-watch"], { stdio: "ignore" });
  try {
    // Nobody has to load a page anew.
    await tail.getByText("Traces show as they end").waitFor();
    await side.getByText("Serving").waitFor();
    await browser.request("/v1/after", { headers });
    await page.getByRole("link", { name: "GET /v1/after" }).waitFor();
  } finally {
    again.kill("SIGKILL");
  }
  await side.getByText("Weir does not answer").waitFor();
  // A page that was not asked for before has nothing to show but that.
  await side.getByRole("link", { name: "Plugins" }).click();
  await page.getByRole("alert").filter({ hasText: /^Weir does not answer$/ }).waitFor();
  await page.getByRole("heading", { name: "Plugins", level: 1 }).waitFor();
  await browser.look("gone-page");
}

/** An endpoint that kept failing is left out: its page says so, and the first page does. */
export async function ejected(browser, { key }) {
  const { page } = browser;
  // Each is answered: what cannot connect is tried again elsewhere.
  for (let n = 0; n < 20; n += 1) {
    const { status } = await browser.request(`/v1/${n}`, { headers: { "x-api-key": key } });
    assert.equal(status, 200);
  }
  await browser.open("/upstreams");
  await page.getByText("1 of 2 endpoints is left out").waitFor();
  await page.getByRole("row", { name: /^127\.0\.0\.1:1 up Left out: kept failing 1 plain HTTP$/ }).waitFor();
  assert.equal(await page.getByText("Gets requests").count(), 1);
  await browser.look("upstreams-ejected");
  await browser.open("/");
  await page.getByRole("status").filter({ hasText: "up: 1 of 2 endpoints is left out (127.0.0.1:1)" }).waitFor();
}

/** An exporter that is none for Kafka has its state and figures, and no form. */
export async function elsewhere(browser, { key }) {
  const { page } = browser;
  await browser.request("/v1/sent", { headers: { "x-api-key": key } });
  await browser.open("/exporters");
  await page.getByRole("row", { name: /^collector Delivering otlp, http_protobuf/ }).waitFor();
  await page.getByRole("link", { name: "collector", exact: true }).click();
  await page.getByRole("heading", { name: "collector", exact: true }).waitFor();
  await page.getByText("This exporter sends by otlp: it has no form here. Its keys are in the file.").waitFor();
  await page.locator(".figure", { hasText: "Acknowledged" }).getByText("1", { exact: true }).waitFor();
  const main = page.getByRole("main");
  assert.equal(await main.getByRole("button").count(), 0);
  assert.equal(await main.getByRole("textbox").count(), 0);
  await browser.look("exporter-otlp");
}

/** The disk takes no more of the store: the first page says so, for as long as it is so. */
export async function refusing(browser, { key, pid }) {
  const { page } = browser;
  const headers = { "x-api-key": key };
  /** How long a file may become that Weir writes. */
  const limit = (bytes) => promisify(execFile)("prlimit", ["--pid", `${pid}`, `--fsize=${bytes}:unlimited`]);
  await browser.request("/v1/kept", { headers });
  await browser.open("/");
  await page.getByRole("link", { name: "GET /v1/kept" }).waitFor();
  await limit(1);
  assert.equal((await browser.request("/v1/lost", { headers })).status, 200);
  const notice = page.getByText(/^Recent traces: /);
  await notice.waitFor();
  await browser.look("overview-store-refuses");
  await limit("unlimited");
  await browser.request("/v1/again", { headers });
  await page.getByRole("link", { name: "GET /v1/again" }).waitFor();
  await notice.waitFor({ state: "detached" });
  assert.equal(await page.getByRole("link", { name: "GET /v1/kept" }).count(), 1);
}

/** The store's file cannot be opened: traces are in memory, and it is said. */
export async function memory(browser, { key }) {
  const { page } = browser;
  await browser.request("/v1/kept", { headers: { "x-api-key": key } });
  await browser.open("/");
  await page.getByText(/^Recent traces: kept in memory: unable to open/).waitFor();
  await page.getByRole("link", { name: "GET /v1/kept" }).waitFor();
  await browser.look("overview-store-in-memory");
}
