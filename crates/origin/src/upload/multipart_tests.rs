use proptest::prelude::*;

use super::*;

/// Each part's name, file name and content, or why there are none.
type Parts = Result<Vec<(String, Option<Vec<u8>>, Vec<u8>)>, FormError>;

fn read(form: &[u8], piece: usize) -> Parts {
    let mut parser = Parser::new(b"xyz")?;
    let mut parts: Vec<(String, Option<Vec<u8>>, Vec<u8>)> = Vec::new();
    let mut open = false;
    let mut over = false;
    for bytes in form.chunks(piece) {
        parser.feed(bytes);
        while let Some(event) = parser.next()? {
            match event {
                Event::Part(part) => {
                    assert!(!open);
                    open = true;
                    parts.push((part.name, part.filename, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().2.extend_from_slice(&data);
                }
                Event::PartEnd => {
                    assert!(open);
                    open = false;
                }
                Event::End => {
                    over = true;
                    break;
                }
            }
        }
        assert!(parser.buffer.len() <= HEADERS + piece, "it keeps {} bytes", parser.buffer.len());
    }
    assert!(!over || !open);
    parser.end()?;
    Ok(parts)
}

/// The same whatever pieces it comes in.
fn check(form: &[u8]) -> Parts {
    let whole = read(form, form.len().max(1));
    for piece in [1, 2, 3, 7, 16] {
        assert_eq!(read(form, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn contents(form: &str) -> Vec<String> {
    let parts = check(form.as_bytes()).unwrap();
    parts.into_iter().map(|(_, _, content)| String::from_utf8(content).unwrap()).collect()
}

const FILE: &str = "Content-Disposition: form-data; name=\"files[]\"; filename=\"a.txt\"";

#[test]
fn forms_are_read_however_they_are_written() {
    let one = |form: String, expected: &str| assert_eq!(contents(&form), [expected], "{form:?}");
    one(format!("--xyz\r\n{FILE}\r\n\r\nhello\r\n--xyz--\r\n"), "hello");
    one(format!("--xyz\n{FILE}\n\nhello\n--xyz--\n"), "hello");
    one(format!("--xyz\r\n{FILE}\r\n\r\n\r\n--xyz--"), "");
    one(format!("before\r\n--xyz  \t\r\n{FILE}\r\n\r\nhello\r\n--xyz--behind"), "hello");
    one(format!("--xyz\r\nX: 1\r\n{FILE}\r\nContent-Type: a\r\n b\r\n\r\n\r\n\r\n\r\n--xyz--"), "\r\n\r\n");
    one("--xyz\r\ncontent-DISPOSITION:form-data; name=a\r\n\r\nhello\r\n--xyz--".to_owned(), "hello");
    assert_eq!(contents("--xyz--\r\n"), [""; 0]);
    let two = format!("--xyz\r\n{FILE}\r\n\r\none\r\n--xyz\r\n{FILE}\r\n\r\n\ntwo\n\r\n--xyz--\r\n");
    assert_eq!(contents(&two), ["one", "\ntwo\n"]);
}

#[test]
fn what_almost_ends_a_file_is_in_it() {
    for content in [
        "\r\n--xy",
        "\r\n--xyzz",
        "\r\n--xyz-",
        "\r\n--xyz x",
        "--xyz",
        "\r\r\n-",
        "\r",
        "\n",
        "\r\n",
        "\r\n--xyz\rx",
        "\n\n\n--",
        "\r\n-\r\n--\r\n--x\r\n--xy\r\n--xyz!",
    ] {
        let form = format!("--xyz\r\n{FILE}\r\n\r\n{content}a\r\n--xyz--");
        assert_eq!(contents(&form), [format!("{content}a")], "{content:?}");
    }
    let many = "\r\n--xyZ".repeat(100_000);
    assert_eq!(contents(&format!("--xyz\r\n{FILE}\r\n\r\n{many}\r\n--xyz--")), [many]);
}

#[test]
fn a_form_that_ends_early_is_none() {
    let form = format!("--xyz\r\n{FILE}\r\n\r\nhello\r\n--xyz--");
    for length in 0..form.len() {
        assert_eq!(read(&form.as_bytes()[..length], 5), Err(FormError::Early), "{length}");
    }
}

#[test]
fn nothing_grows_without_a_bound() {
    let long = "x".repeat(100_000);
    assert_eq!(check(long.as_bytes()), Err(FormError::TooLong("preamble")));
    assert_eq!(check(format!("--xyz\r\nX: {long}").as_bytes()), Err(FormError::TooLong("header")));
    assert_eq!(
        check(format!("--xyz\r\n{}", "X: y\r\n".repeat(33)).as_bytes()),
        Err(FormError::TooMany("header fields"))
    );
    let parts = format!("--xyz\r\n{FILE}\r\n\r\n\r\n").repeat(1001);
    assert_eq!(check(format!("{parts}--xyz--").as_bytes()), Err(FormError::TooMany("parts")));
    assert!(Parser::new(&[b'x'; 71]).is_err() && Parser::new(b"").is_err() && Parser::new(b"a\nb").is_err());
}

#[test]
fn boundaries_are_found_in_the_type() {
    let cases: [(&str, Result<&str, FormError>); 7] = [
        ("multipart/form-data; boundary=xyz", Ok("xyz")),
        ("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"x y\"", Ok("x y")),
        ("multipart/form-data;boundary=xyz;x=y", Ok("xyz")),
        ("multipart/form-data", Err(FormError::Boundary)),
        ("multipart/form-data; boundary=", Err(FormError::Boundary)),
        ("multipart/mixed; boundary=xyz", Err(FormError::Boundary)),
        ("", Err(FormError::Boundary)),
    ];
    for (field, expected) in cases {
        assert_eq!(boundary(field.as_bytes()), expected.map(|text| text.as_bytes().to_vec()), "{field}");
    }
}

proptest! {
    #[test]
    fn content_comes_out_as_it_went_in(
        files in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\r\n-xyzab\0".to_vec()), 0..200), 0..5),
        piece in 1_usize..40,
    ) {
        let ends = |file: &Vec<u8>| {
            let whole = [b"\r\n", &file[..], b"\r\n"].concat();
            memchr::memmem::find_iter(&whole, b"\n--xyz").any(|at| !matches!(behind(&whole[at + 6..]), Behind::Content))
        };
        prop_assume!(!files.iter().any(ends));
        let mut form = Vec::new();
        for file in &files {
            form.extend_from_slice(format!("--xyz\r\n{FILE}\r\n\r\n").as_bytes());
            form.extend_from_slice(file);
            form.extend_from_slice(b"\r\n");
        }
        form.extend_from_slice(b"--xyz--\r\n");
        let parts: Vec<Vec<u8>> = read(&form, piece).unwrap().into_iter().map(|(_, _, content)| content).collect();
        prop_assert_eq!(parts, files);
    }

    #[test]
    fn whatever_comes_it_ends(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1_usize..100) {
        let form = [b"--xyz\r\n".to_vec(), bytes].concat();
        prop_assert_eq!(read(&form, piece).is_ok(), read(&form, form.len()).is_ok());
    }
}
