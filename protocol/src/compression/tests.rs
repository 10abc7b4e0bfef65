//! Codecs: round trips, damage, bombs, and forms that other clients write.

use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    compression
        .compress(content, &mut out)
        .expect("memory suffices");
    out.split_off(6)
}

/// Text that compresses, as records do.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 32);
    for row in 0_u32.. {
        if text.len() >= bytes {
            break;
        }
        text.extend_from_slice(format!("row {row},JFK,{}\n", row.wrapping_mul(row)).as_bytes());
    }
    text.truncate(bytes);
    text
}

/// Bytes that do not compress, the same in each run.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect()
}

#[track_caller]
fn check_damaged(compression: Compression, bytes: &[u8]) {
    let found = compression.decompress(bytes, 1 << 20);
    assert!(
        matches!(found, Err(CompressionError::Damaged { .. })),
        "{compression:?}: {found:?}"
    );
}

#[track_caller]
fn check_too_large(compression: Compression, bytes: &[u8], limit: usize) {
    let found = compression.decompress(bytes, limit);
    assert!(
        matches!(found, Err(CompressionError::TooLarge { .. })),
        "{compression:?} within {limit}: {:?}",
        found.map(|bytes| bytes.len())
    );
}

proptest! {
    #[test]
    fn content_comes_back(content in proptest::collection::vec(0_u8..4, 0..5000)) {
        for compression in Compression::ALL {
            let compressed = compress(compression, &content);
            prop_assert_eq!(&compression.decompress(&compressed, content.len()).unwrap(), &content);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic_or_exceed_its_limit(
        bytes: Vec<u8>, at in any::<prop::sample::Index>(), bend in 1_u8..
    ) {
        for compression in CODECS {
            let mut bent = compress(compression, &text(3000));
            let at = at.index(bent.len());
            bent[at] ^= bend;
            for input in [&bytes, &bent] {
                if let Ok(out) = compression.decompress(input, 5000) {
                    prop_assert!(out.len() <= 5000);
                }
            }
        }
    }
}

#[test]
fn blocks_and_buffers_of_every_size_come_back() {
    for bytes in [0, 1, 65_535, 65_536, 65_537, 300_000] {
        for content in [text(bytes), noise(bytes), vec![0; bytes]] {
            for compression in CODECS {
                let compressed = compress(compression, &content);
                let found = compression.decompress(&compressed, bytes).unwrap();
                assert!(found == content, "{compression:?} of {bytes}");
            }
        }
    }
}

#[test]
fn content_is_refused_one_byte_beyond_the_limit() {
    for content in [text(100_000), vec![0; 8 << 20]] {
        for compression in CODECS {
            let bomb = compress(compression, &content);
            for limit in [0, 1, 1000, content.len() - 1] {
                check_too_large(compression, &bomb, limit);
            }
            let within = compression.decompress(&bomb, content.len()).unwrap();
            assert_eq!(within.len(), content.len());
            assert!(within.capacity() <= content.len() + 1, "{compression:?}");
        }
    }
}

#[test]
fn data_that_ends_early_is_damaged_wherever_it_ends() {
    let content = text(150_000);
    for compression in CODECS {
        let whole = compress(compression, &content);
        for end in (0..whole.len()).step_by(23).chain([whole.len() - 1]) {
            // Snappy's framing has no end mark: whole blocks are a whole stream.
            if compression != Compression::Snappy {
                check_damaged(compression, &whole[..end]);
            } else if let Ok(found) = compression.decompress(&whole[..end], 1 << 20) {
                assert_eq!(found.len() % (32 * 1024), 0);
            }
        }
    }
}

#[test]
fn bytes_behind_the_data_are_damage() {
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut data = compress(compression, b"content");
        data.extend_from_slice(b"more!");
        check_damaged(compression, &data);
    }
}

#[test]
fn frames_one_after_the_other_are_read_as_one() {
    for compression in CODECS {
        let mut data = compress(compression, b"one ");
        data.extend(compress(compression, b"two"));
        assert_eq!(compression.decompress(&data, 7).unwrap(), b"one two");
        check_too_large(compression, &data, 6);
    }
}

#[test]
fn snappy_is_read_without_framing_as_librdkafka_writes_it() {
    let content = text(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&content).unwrap();
    let found = Compression::Snappy.decompress(&raw, content.len());
    assert_eq!(found.unwrap(), content);
    check_too_large(Compression::Snappy, &raw, content.len() - 1);
}

#[test]
fn a_snappy_block_that_lies_about_its_length_is_refused_before_memory_is_taken() {
    let claims_four_gigabytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, b'x'];
    let found = Compression::Snappy.decompress(&claims_four_gigabytes, usize::MAX);
    assert!(matches!(found, Err(CompressionError::Damaged { .. })));
}

#[test]
fn lz4_blocks_that_refer_to_earlier_ones_are_read() {
    // Two linked blocks: eight literals, then a match that reaches back across the border.
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0xc0];
    frame.extend([9, 0, 0, 0, 0x80]);
    frame.extend_from_slice(b"abcdefgh");
    frame.extend([9, 0, 0, 0, 0x04, 8, 0, 0x50]);
    frame.extend_from_slice(b"12345");
    frame.extend([0, 0, 0, 0]);
    let found = Compression::Lz4.decompress(&frame, 1000).unwrap();
    assert_eq!(found, b"abcdefghabcdefgh12345");
    frame[4] |= 0x20;
    check_damaged(Compression::Lz4, &frame);
}

#[test]
fn lz4_frames_that_cannot_be_read_are_damaged() {
    let good = compress(Compression::Lz4, b"content");
    for (at, byte) in [
        (0, 0),    // magic
        (4, 0x20), // version
        (4, 0x61), // dictionary
        (5, 0x30), // block size
        (9, 2),    // a block longer than the frame allows
    ] {
        let mut bent = good.clone();
        bent[at] = byte;
        check_damaged(Compression::Lz4, &bent);
    }
}

#[test]
fn an_lz4_content_size_must_be_true() {
    let frame = |size: u8| {
        let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x68, 0x40];
        frame.extend([size, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([3, 0, 0, 0x80, b'a', b'b', b'c', 0, 0, 0, 0]);
        frame
    };
    assert_eq!(Compression::Lz4.decompress(&frame(3), 3).unwrap(), b"abc");
    check_damaged(Compression::Lz4, &frame(4));
}

#[test]
fn zstd_streams_of_every_level_are_read() {
    use std::io::Write;
    let content = text(5000);
    for level in [-5, 1, 3, 19, 22] {
        // As a stream: the frame asks for the level's whole window, up to 128 MiB, and does not say its size.
        let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), level).unwrap();
        for piece in content.chunks(700) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        let frame = encoder.finish().unwrap();
        let found = Compression::Zstd.decompress(&frame, content.len()).unwrap();
        assert_eq!(found, content, "level {level}");
        assert!(found.capacity() <= content.len() + 1);
        check_too_large(Compression::Zstd, &frame, content.len() - 1);
    }
}

#[test]
fn lz4_matches_what_the_reference_decoder_reads() {
    // Written by python-lz4 4.4.5 (lz4 1.9.4), `lz4.frame.compress(b"lane " * 20, content_checksum=True)`.
    let frame = include_bytes!("tests/python_lz4_with_checksum.bin");
    let found = Compression::Lz4.decompress(frame, 100).unwrap();
    assert_eq!(found, b"lane ".repeat(20));
}
