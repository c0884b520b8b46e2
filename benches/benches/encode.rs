//! From recording a trace of twelve spans to the bytes that are sent.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::filter::{Capture, Filters, Selection};
use weir::trace::recorder::Recorder;
use weir::trace::{Trace, json, otlp, record};
use weir::{config, trace};
use weir_benches::{record_request, template};

type Encode = fn(&Trace<'_>, &Selection<'_>, &mut Vec<u8>);

fn benches(criterion: &mut Criterion) {
    let template = template();
    let mut recorder = Recorder::default();
    criterion.bench_function("record", |bencher| {
        bencher.iter(|| record_request(black_box(&mut recorder), &template));
    });
    let config = config::Filters::default();
    let quiet = config::Filters {
        disable_content_logging: true,
        ..config.clone()
    };
    let mut bytes = Vec::new();
    for (name, config) in [("write", &config), ("write a part", &quiet)] {
        let capture = Capture::new([config]);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                bytes.clear();
                capture.write(black_box(&recorder), &mut bytes)
            });
        });
    }
    criterion.bench_function("read", |bencher| {
        bencher.iter(|| trace::record::read(black_box(&bytes)).map(|trace| trace.spans.len()));
    });

    let trace = record::read(&bytes).expect("a record that was just written");
    let formats: [(&str, Encode); 3] = [
        ("json", json::encode),
        ("otlp_json", otlp::encode_json),
        ("otlp_protobuf", otlp::encode_protobuf),
    ];
    for (filters, config) in [("all", &config), ("without content", &quiet)] {
        let filters_of = Filters::new(config);
        let mut group = criterion.benchmark_group(format!("encode {filters}"));
        for (name, encode) in formats {
            let mut out = Vec::new();
            encode(&trace, &Selection::all(), &mut out);
            group.throughput(Throughput::Bytes(out.len() as u64));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let selection = filters_of.select(black_box(&trace));
                    encode(&trace, &selection.expect("not sampled out"), &mut out);
                });
            });
        }
    }
}

criterion_group!(encode, benches);
criterion_main!(encode);
