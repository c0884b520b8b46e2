import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import io.opentelemetry.sdk.common.CompletableResultCode;
import java.util.concurrent.TimeUnit;

/**
 * An application with OpenTelemetry's SDK and its default exporters, as OTEL_* variables set them.
 * Sends a span, a counter and a log record; exits 1 where an export fails.
 */
public class Sdk {
    public static void main(String[] arguments) {
        OpenTelemetrySdk sdk = AutoConfiguredOpenTelemetrySdk.initialize().getOpenTelemetrySdk();
        send(sdk);
        boolean sent = flushed(sdk.getSdkTracerProvider().forceFlush())
            & flushed(sdk.getSdkMeterProvider().forceFlush())
            & flushed(sdk.getSdkLoggerProvider().forceFlush());
        sdk.close();
        System.exit(sent ? 0 : 1);
    }

    private static void send(OpenTelemetry api) {
        Span span = api.getTracer("test").spanBuilder("span-java").startSpan();
        api.getMeter("test").counterBuilder("counter-java").build().add(1);
        api.getLogsBridge().get("test").logRecordBuilder().setSeverity(Severity.WARN).setBody("record-java").emit();
        span.end();
    }

    private static boolean flushed(CompletableResultCode flush) {
        return flush.join(60, TimeUnit.SECONDS).isSuccess();
    }
}
