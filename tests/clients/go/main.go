// An application with OpenTelemetry's SDK and its default exporters, as OTEL_* variables set them.
// Sends a span, a counter and a log record; exits 1 where an export fails.
package main

import (
	"context"
	"errors"
	"os"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	if err := send(context.Background()); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func send(ctx context.Context) error {
	spans, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return err
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return err
	}
	records, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return err
	}
	tracing := trace.NewTracerProvider(trace.WithBatcher(spans))
	metering := metric.NewMeterProvider(metric.WithReader(reader))
	logging := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)))

	ctx, span := tracing.Tracer("test").Start(ctx, "span-go")
	counter, err := metering.Meter("test").Int64Counter("counter-go")
	if err != nil {
		return err
	}
	counter.Add(ctx, 1)
	var record log.Record
	record.SetBody(log.StringValue("record-go"))
	logging.Logger("test").Emit(ctx, record)
	span.End()
	return errors.Join(tracing.ForceFlush(ctx), metering.ForceFlush(ctx), logging.ForceFlush(ctx))
}
