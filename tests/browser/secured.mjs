// An exporter to a broker with TLS and SASL, made by the form alone.

import assert from "node:assert/strict";

/** From no exporter to messages by TLS and SASL; the password is named, and never comes here. */
export async function secured(browser, { key, broker, topic, ca, user, password }) {
  const { page } = browser;
  const answers = [];
  page.on("response", (response) => answers.push(response.text().catch(() => "")));
  const hidden = async () => {
    assert.ok(!(await page.content()).includes(password), "the password is in the page");
    const values = await page.locator("input, textarea").evaluateAll((all) => all.map((one) => one.value));
    assert.ok(!values.some((value) => value.includes(password)), "the password is in a control");
  };
  await browser.open("/exporters/traces");
  await page.getByLabel("brokers required").fill(broker);
  await page.getByLabel("topic required").fill(topic);
  await page.getByLabel("flush_interval_ms").fill("10");
  await page.getByRole("switch", { name: "tls_enabled" }).click();
  await page.getByLabel("ca_cert", { exact: true }).fill(ca);
  const test = page.getByRole("button", { name: "Test connection" });
  const said = page.locator(".save-bar .state");
  // Without SASL this broker lets nobody in.
  await test.click();
  await said.and(page.locator(".bad")).waitFor();
  await page.getByRole("switch", { name: "sasl_enabled" }).click();
  await page.getByLabel("sasl.mechanism").selectOption("SCRAM-SHA-512");
  await page.getByLabel("sasl.username").fill(user);
  await page.getByLabel("sasl.password").fill("env.SASL_PASSWORD");
  await test.click();
  await page.getByText(`connected, and topic "${topic}" is there`).waitFor();
  await browser.look("kafka-secured");
  await hidden();

  await page.getByRole("button", { name: "Save Kafka Configuration" }).click();
  const sheet = page.getByRole("dialog", { name: "Save to the file" });
  await sheet.getByText("password: env.SASL_PASSWORD").waitFor();
  await hidden();
  await sheet.getByRole("button", { name: "Write and reload" }).click();
  await page.getByText("Saved and reloaded").waitFor();
  await browser.request("/v1/delivered", { headers: { "x-api-key": key } });
  await page.getByText("Delivering").waitFor();
  await page.locator(".figure", { hasText: "Acknowledged" }).getByText("1", { exact: true }).waitFor();
  // A form that is loaded anew names the variable still.
  await page.reload();
  await page.getByLabel("sasl.password").waitFor();
  assert.equal(await page.getByLabel("sasl.password").inputValue(), "env.SASL_PASSWORD");
  await hidden();
  await browser.open("/configuration");
  await page.locator(".yaml .row", { hasText: 'password: "env.SASL_PASSWORD"' }).waitFor();
  await hidden();
  for (const answer of await Promise.all(answers)) assert.ok(!answer.includes(password), "the password is in an answer");
}
