//! Rows of small files in every format, and CSV compared with the `csv` crate.

use super::*;
use std::io::{Cursor, Write};

type Rows = Vec<(Option<String>, String)>;

fn read(text: &[u8], format: Format, key: &KeyPlace) -> Result<Rows, RowError> {
    let reader = Box::new(Cursor::new(text.to_vec()));
    let mut rows = RowReader::new(reader, format, key)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        assert_eq!(row.number, all.len() as u64 + 1);
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        all.push((row.key.map(text), text(row.value)));
    }
    Ok(all)
}

fn check(text: &str, format: Format, key: &KeyPlace, expected: &[(Option<&str>, &str)]) {
    let rows = read(text.as_bytes(), format, key).expect("the text is well-formed");
    let rows: Vec<(Option<&str>, &str)> = rows
        .iter()
        .map(|(key, value)| (key.as_deref(), value.as_str()))
        .collect();
    assert_eq!(rows, expected);
}

fn check_fault(text: &str, format: Format, key: &KeyPlace, expected: &str) {
    let fault = read(text.as_bytes(), format, key).expect_err("the text is malformed");
    assert!(
        fault.to_string().contains(expected),
        "{fault} should say {expected}"
    );
}

fn column(name: &str) -> KeyPlace {
    KeyPlace::Column(name.to_owned())
}

#[test]
fn a_csv_value_is_the_row_as_it_stands_in_the_file() {
    let text = "id,name\r\n7,\"a, \"\"b\"\"\"\r\n8, c \n9,\"two\nlines\"\n10,last";
    check(
        text,
        Format::Csv,
        &column("name"),
        &[
            (Some("a, \"b\""), "7,\"a, \"\"b\"\"\""),
            (Some(" c "), "8, c "),
            (Some("two\nlines"), "9,\"two\nlines\""),
            (Some("last"), "10,last"),
        ],
    );
}

#[test]
fn a_csv_key_is_found_by_number_and_a_name_wins() {
    check(
        "a,1\nx,y\n",
        Format::Csv,
        &column("2"),
        &[(Some("y"), "x,y")],
    );
    check(
        "a,1\nx,y\n",
        Format::Csv,
        &column("1"),
        &[(Some("y"), "x,y")],
    );
    check(
        "a,1\nx,y\n",
        Format::Csv,
        &KeyPlace::Nowhere,
        &[(None, "x,y")],
    );
}

#[test]
fn an_empty_csv_key_is_empty_and_not_absent_and_na_is_a_key() {
    let rows = [(Some(""), ",1"), (Some("NA"), "NA,2"), (Some(""), "\"\",3")];
    check(
        "k,v\n,1\nNA,2\n\n\"\",3\n",
        Format::Csv,
        &column("k"),
        &rows,
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_name() {
    check(
        "\u{feff}k,v\na,1\n",
        Format::Csv,
        &column("k"),
        &[(Some("a"), "a,1")],
    );
}

#[test]
fn csv_faults_name_line_and_reason() {
    check_fault(
        "a,b\n1,2\n3\n",
        Format::Csv,
        &column("a"),
        "line 3: 1 fields where the header names 2",
    );
    check_fault(
        "a,b\n1,\"2\n3\n",
        Format::Csv,
        &column("a"),
        "line 2: a quote is opened and never closed",
    );
    check_fault(
        "a,b\n1,\"2\"3\n",
        Format::Csv,
        &column("a"),
        "line 2: field 2 has text behind its closing quote",
    );
    check_fault("", Format::Csv, &column("a"), "the file is empty");
    check_fault(
        "carrier,b\n",
        Format::Csv,
        &column("carier"),
        "did you mean \"carrier\"?",
    );
    check_fault(
        "carrier,b\n",
        Format::Csv,
        &column("3"),
        "its columns are carrier, b",
    );
}

#[test]
fn csv_fields_are_those_of_the_csv_crate() {
    let pieces = ["a", ",", "\"", "\"\"", "\n", "\r\n", "b\"", " ", "é"];
    let mut compared = 0;
    for seed in 0..20_000_u64 {
        let mut text = String::from("h1,h2\n");
        let mut draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..8 {
            text.push_str(pieces[(draw % pieces.len() as u64) as usize]);
            draw = (draw / 7)
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .rotate_left(17);
        }
        let Ok(ours) = read(text.as_bytes(), Format::Csv, &column("2")) else {
            continue;
        };
        let mut theirs = ::csv::Reader::from_reader(text.as_bytes());
        let theirs: Vec<Option<String>> = theirs
            .records()
            .map(|record| Some(record.expect("we read it")[1].to_owned()))
            .collect();
        let ours: Vec<Option<String>> = ours.into_iter().map(|(key, _)| key).collect();
        assert_eq!(ours, theirs, "{text:?}");
        compared += ours.len();
    }
    assert!(compared > 200, "only {compared} rows were compared");
}

#[test]
fn a_json_key_is_text_number_or_boolean_on_a_dotted_path() {
    let text = "{\"u\":{\"id\":\"\\u00e9\"}}\n\n{\"u\":{\"id\":12345678901234567890123}} \r\n{\"u\":{\"id\":null}}";
    check(
        text,
        Format::Ndjson,
        &column("u.id"),
        &[
            (Some("é"), "{\"u\":{\"id\":\"\\u00e9\"}}"),
            (
                Some("12345678901234567890123"),
                "{\"u\":{\"id\":12345678901234567890123}} ",
            ),
            (None, "{\"u\":{\"id\":null}}"),
        ],
    );
}

#[test]
fn json_faults_name_line_and_reason() {
    check_fault(
        "{}\n[1]\n",
        Format::Ndjson,
        &KeyPlace::Nowhere,
        "line 2: not a JSON object",
    );
    check_fault(
        "{\"a\":1}\n",
        Format::Ndjson,
        &column("b"),
        "line 1: no field \"b\"",
    );
    check_fault(
        "{\"a\":1}\n",
        Format::Ndjson,
        &column("a.b"),
        "field \"a\" is not an object",
    );
    check_fault(
        "{\"a\":[1]}\n",
        Format::Ndjson,
        &column("a"),
        "is an object or array",
    );
}

#[test]
fn a_line_is_a_record_and_may_begin_with_its_key() {
    check(
        "a\n\nb",
        Format::Lines,
        &KeyPlace::Nowhere,
        &[(None, "a"), (None, ""), (None, "b")],
    );
    let before = KeyPlace::Before("::".to_owned());
    check(
        "k::v::w\n::x\n",
        Format::Lines,
        &before,
        &[(Some("k"), "k::v::w"), (Some(""), "::x")],
    );
    check_fault(
        "k::v\nnone\n",
        Format::Lines,
        &before,
        "line 2: no \"::\" ends the key",
    );
}

#[test]
fn a_row_without_end_is_refused_at_the_bound() {
    let mut text = b"a,b\n1,\"".to_vec();
    text.resize(ROW_BYTES_MAX + 4096, b'\n');
    let fault = read(&text, Format::Csv, &column("a")).expect_err("the row is too long");
    assert!(fault.to_string().contains("longer than 16 MiB"), "{fault}");
}

#[test]
fn gzip_goes_by_the_name_and_a_cut_file_is_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.CSV.gz");
    let mut packed = Vec::new();
    for text in ["k,v\na,1\n", "b,2\n"] {
        let mut member = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        member.write_all(text.as_bytes()).expect("memory takes it");
        member.finish().expect("memory takes it");
    }
    std::fs::write(&path, &packed).expect("the folder takes a file");
    let source = RowSource::new(path.clone(), None, Some("k".to_owned()), None).expect("valid");
    let mut rows = source.open().expect("the file opens");
    assert_eq!(rows.next_row().expect("row 1").expect("row 1").value, "a,1");
    assert_eq!(rows.next_row().expect("row 2").expect("row 2").value, "b,2");
    assert_eq!(rows.next_row().expect("the end"), None);

    std::fs::write(&path, &packed[..packed.len() - 12]).expect("the folder takes a file");
    let mut rows = source.open().expect("the file opens");
    let fault = loop {
        match rows.next_row() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut file ended like a whole one"),
            Err(fault) => break fault,
        }
    };
    assert!(fault.to_string().starts_with("cannot read line"), "{fault}");
}

#[test]
fn all_wishes_that_do_not_fit_are_told_together() {
    let faults = RowSource::new(
        "x.txt".into(),
        None,
        Some(String::new()),
        Some(String::new()),
    )
    .expect_err("nothing fits");
    assert_eq!(faults.len(), 3, "{faults:?}");
}
