// An application with OpenTelemetry's SDK and its default exporters, as OTEL_* variables set them:
// `node sdk.mjs FOLDER`, where FOLDER has the packages. Sends a span, a counter and a log record;
// exits 1 where an export fails.

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.argv[2], "package.json"));
const { DiagLogLevel, diag, metrics, trace } = require("@opentelemetry/api");
const { logs } = require("@opentelemetry/api-logs");
const { NodeSDK } = require("@opentelemetry/sdk-node");

const ignore = () => {};
const complain = (...what) => {
  console.error(...what);
  process.exitCode = 1;
};
diag.setLogger({ verbose: ignore, debug: ignore, info: ignore, warn: ignore, error: complain }, DiagLogLevel.ERROR);

const sdk = new NodeSDK({ instrumentations: [] });
sdk.start();
trace.getTracer("test").startActiveSpan("span-node", (span) => {
  metrics.getMeter("test").createCounter("counter-node").add(1, { kind: "test" });
  logs.getLogger("test").emit({ body: "record-node", severityText: "WARN" });
  span.end();
});
await sdk.shutdown().catch(complain);
