// What Conduktor's OTLP source connector writes of requests in protobuf. It prints as the connector does
// (github.com/conduktor/kafka-connect-opentelemetry, OtlpReceiver.java), with the libraries of its pom.xml.
// Lines of "<signal> <request in Base64>" in, a line of JSON for each out. `requests.py` says how it is run.

import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import io.opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest;
import io.opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

class Print {
    public static void main(String[] arguments) throws Exception {
        JsonFormat.Printer printer =
                JsonFormat.printer().includingDefaultValueFields().preservingProtoFieldNames();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ", -1);
            Message request = parse(words[0], Base64.getDecoder().decode(words[1]));
            // The connector leaves the line ends of the printer in; here a line is a request.
            out.println(printer.omittingInsignificantWhitespace().print(request));
        }
    }

    private static Message parse(String signal, byte[] request) throws Exception {
        switch (signal) {
            case "traces":
                return ExportTraceServiceRequest.parseFrom(request);
            case "metrics":
                return ExportMetricsServiceRequest.parseFrom(request);
            default:
                return ExportLogsServiceRequest.parseFrom(request);
        }
    }
}
