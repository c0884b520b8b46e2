use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderValue;

use super::*;

const TEXT: &[u8] = b"the same again and again and again and again and again";

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

fn encoded(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Zstd => zstd::encode_all(text, 0).unwrap(),
    }
}

/// Works until more is needed, or the end.
fn drain(decoder: &mut Decoder, out: &mut Vec<u8>) -> io::Result<Step> {
    loop {
        match decoder.step()? {
            Step::Piece(piece) => {
                assert!(piece.len() <= 2 * STEP, "{} bytes at once", piece.len());
                out.extend_from_slice(&piece);
            }
            Step::Again => {}
            done => return Ok(done),
        }
    }
}

/// Undoes a body that comes by pieces of so many bytes.
fn decoded(codings: &[Coding], body: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::new(codings)?;
    let mut out = Vec::new();
    for piece in body.chunks(size) {
        decoder.feed(Bytes::copy_from_slice(piece));
        assert_eq!(drain(&mut decoder, &mut out)?, Step::Hungry);
    }
    decoder.end();
    assert_eq!(drain(&mut decoder, &mut out)?, Step::Ended);
    Ok(out)
}

#[test]
fn what_was_encoded_is_there_again_however_it_comes() {
    for coding in ALL {
        let body = encoded(coding, TEXT);
        for size in [1, 7, 1000] {
            let text = decoded(&[coding], &body, size).unwrap();
            assert_eq!(text, TEXT, "{coding:?} by {size}");
        }
    }
}

#[test]
fn a_window_counts_as_far_as_it_is_filled() {
    let mut decoder = Decoder::new(&[Coding::Zstd]).unwrap();
    // A frame that says that its window is of 8 MiB, and nothing more.
    decoder.feed(Bytes::from_static(b"\x28\xb5\x2f\xfd\x00\x68"));
    let mut out = Vec::new();
    assert_eq!(drain(&mut decoder, &mut out).unwrap(), Step::Hungry);
    assert!(decoder.memory() < 1 << 20);
    // Blocks of one byte, repeated to 128 KiB.
    let block = b"\x02\x00\x10x";
    decoder.feed(block.repeat(32).into());
    assert_eq!(drain(&mut decoder, &mut out).unwrap(), Step::Hungry);
    assert_eq!(out.len(), 4 << 20);
    assert!((4 << 20..5 << 20).contains(&decoder.memory()));
    decoder.feed(block.repeat(128).into());
    assert_eq!(drain(&mut decoder, &mut out).unwrap(), Step::Hungry);
    assert_eq!(out.len(), 20 << 20);
    assert!((8 << 20..10 << 20).contains(&decoder.memory()));
    // One that says that it is larger is none.
    let mut decoder = Decoder::new(&[Coding::Zstd]).unwrap();
    decoder.feed(Bytes::from_static(b"\x28\xb5\x2f\xfd\x00\x70"));
    assert!(drain(&mut decoder, &mut Vec::new()).is_err());
}

#[test]
fn what_was_applied_last_is_undone_first() {
    for first in ALL {
        for second in ALL {
            let body = encoded(second, &encoded(first, TEXT));
            for size in [1, 1000] {
                let text = decoded(&[first, second], &body, size).unwrap();
                assert_eq!(text, TEXT, "{first:?}, {second:?}");
            }
        }
    }
}

#[test]
fn members_and_frames_follow_one_another() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let body = [encoded(coding, b"one, "), encoded(coding, b"two")].concat();
        for size in [1, 1000] {
            assert_eq!(decoded(&[coding], &body, size).unwrap(), b"one, two");
        }
    }
}

#[test]
fn a_bomb_comes_out_by_bounded_pieces() {
    for coding in ALL {
        let zeros = vec![0; 32 << 20];
        let body = encoded(coding, &zeros);
        assert!(body.len() < 64 << 10, "{coding:?}: {}", body.len());
        let mut decoder = Decoder::new(&[coding]).unwrap();
        decoder.feed(body.into());
        decoder.end();
        let mut len = 0;
        loop {
            match decoder.step().unwrap() {
                Step::Piece(piece) => {
                    assert!(piece.len() <= 2 * STEP, "{} bytes at once", piece.len());
                    len += piece.len();
                }
                Step::Again => {}
                done => break assert_eq!(done, Step::Ended),
            }
        }
        assert_eq!(len, zeros.len());
    }
}

#[test]
fn what_only_the_next_coding_sees_is_counted() {
    // Members of nothing, one behind the other, which pack as well as zeros.
    let nothing = encoded(Coding::Gzip, b"").repeat(10_000);
    let body = encoded(Coding::Zstd, &nothing);
    assert!(body.len() < 64 << 10, "{}", body.len());
    let mut decoder = Decoder::new(&[Coding::Gzip, Coding::Zstd]).unwrap();
    assert_eq!(decoder.made(), 0);
    decoder.feed(body.into());
    decoder.end();
    let mut out = Vec::new();
    assert_eq!(drain(&mut decoder, &mut out).unwrap(), Step::Ended);
    assert!(out.is_empty());
    assert_eq!(decoder.made(), nothing.len() as u64);
}

#[test]
fn what_was_flushed_comes_out_before_more_is_fed() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 0).unwrap();
    let mut decoders = ALL.map(|coding| Decoder::new(&[coding]).unwrap());
    let large = "a large event, larger than a step is. ".repeat(5000);
    for event in ["data: one\n\n", large.as_str(), "data: two\n\n"] {
        let pieces = [
            {
                gzip.write_all(event.as_bytes()).unwrap();
                gzip.flush().unwrap();
                std::mem::take(gzip.get_mut())
            },
            {
                deflate.write_all(event.as_bytes()).unwrap();
                deflate.flush().unwrap();
                std::mem::take(deflate.get_mut())
            },
            {
                zstd.write_all(event.as_bytes()).unwrap();
                zstd.flush().unwrap();
                std::mem::take(zstd.get_mut())
            },
        ];
        for (decoder, piece) in decoders.iter_mut().zip(pieces) {
            let mut out = Vec::new();
            decoder.feed(piece.into());
            assert_eq!(drain(decoder, &mut out).unwrap(), Step::Hungry);
            assert_eq!(out, event.as_bytes());
        }
    }
}

#[test]
fn what_is_cut_off_or_wrong_is_an_error() {
    for coding in ALL {
        let whole = encoded(coding, &TEXT.repeat(1000));
        for size in [1, 1000, 100_000] {
            for left in [1, 5, whole.len() / 2, whole.len() - 1] {
                let cut = decoded(&[coding], &whole[..left], size);
                assert!(cut.is_err(), "{coding:?}: {left} bytes by {size}");
            }
            let wrong = decoded(&[coding], b"not encoded at all", size);
            assert!(wrong.is_err(), "{coding:?} by {size}");
            let more = [&whole[..], b"what is behind"].concat();
            assert!(decoded(&[coding], &more, size).is_err(), "{coding:?}");
        }
    }
    let mut sum = encoded(Coding::Gzip, TEXT);
    let end = sum.len() - 8;
    sum[end] ^= 1;
    assert!(decoded(&[Coding::Gzip], &sum, 1000).is_err());
}

#[test]
fn a_window_that_no_one_has_to_have_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 0).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&vec![b'x'; 17 << 20]).unwrap();
    let body = encoder.finish().unwrap();
    assert!(decoded(&[Coding::Zstd], &body, 1 << 20).is_err());
}

#[test]
fn nothing_is_nothing_in_any_coding() {
    for coding in ALL {
        assert_eq!(decoded(&[coding], b"", 1).unwrap(), b"");
    }
}

#[test]
fn random_bytes_end_in_an_error_or_in_bytes() {
    let mut random = fastrand::Rng::with_seed(7);
    for coding in ALL {
        for _ in 0..500 {
            let mut body = encoded(coding, &TEXT.repeat(10));
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..body.len());
                body[at] = random.u8(..);
            }
            // Whatever it is, it ends, and does not panic.
            let _ = decoded(&[coding, coding], &body, random.usize(1..100));
            let _ = decoded(&[coding], &body, random.usize(1..100));
        }
    }
}

#[test]
fn codings_are_known_by_their_names() {
    use Coding::{Deflate, Gzip, Zstd};
    let cases: [(&[&str], Option<&[Coding]>); 12] = [
        (&[], Some(&[])),
        (&["identity"], Some(&[])),
        (&["gzip"], Some(&[Gzip])),
        (&["X-GZIP"], Some(&[Gzip])),
        (&["deflate , zstd"], Some(&[Deflate, Zstd])),
        (&["gzip", "zstd"], Some(&[Gzip, Zstd])),
        (&["gzip,, identity"], Some(&[Gzip])),
        (&["br"], None),
        (&["br, gzip"], None),
        (&["gzip gzip"], None),
        (&["zstd", "gzip, zstd"], None),
        (&["gzip, gzip, gzip, gzip, gzip"], None),
    ];
    for (values, expected) in cases {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        assert_eq!(of(&headers).as_deref(), expected, "{values:?}");
    }
}
