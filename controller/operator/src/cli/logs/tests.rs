use crate::cli::logs::{Error, Output, Printer, refused, served, show};
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::{Client, client::Body, core::Status};
use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

fn printed(output: Output, pieces: &[&str]) -> String {
    printed_on(output, false, pieces)
}

fn printed_on(output: Output, terminal: bool, pieces: &[&str]) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(output, terminal, &mut out);
    for piece in pieces {
        printer.push(piece.as_bytes()).unwrap();
    }
    printer.finish().unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_one_object_a_line_however_bytes_arrive() {
    let whole = "{\"line\":\"a \\\"b\\\"\"}\n{\"line\":\"\"}\n{\"line\":\"c\"}\n";
    assert_eq!(printed(Output::Json, &["a \"b\"\n\nc"]), whole);
    assert_eq!(printed(Output::Json, &["a \"", "b\"", "\n", "\nc"]), whole);
    assert_eq!(printed(Output::Json, &[]), "");
}

#[test]
fn text_is_printed_as_it_looks_and_only_a_terminal_gets_colours() {
    assert_eq!(printed(Output::Text, &["a\r\n", "b"]), "a\nb");
    let log = [
        "\u{1b}[31mred\u{1b}",
        "[0m\u{1b}[5A\u{1b}]52;c;eA==\u{7}!\n",
    ];
    let red = "\u{1b}[31mred\u{1b}[0m!\n";
    assert_eq!(printed_on(Output::Text, true, &log), red);
    assert_eq!(printed(Output::Text, &log), "red!\n");
    let object = "{\"line\":\"red!\"}\n";
    assert_eq!(printed_on(Output::Json, true, &log), object);
}

fn api(code: u16, message: &str) -> kube::Error {
    let reason = if code == 404 { "NotFound" } else { "" };
    kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
}

#[test]
fn each_trouble_has_its_exit_code() {
    for (error, code) in [
        (served(api(403, "no")), 4),
        (served(api(404, "no log is kept of Build \"x\"")), 3),
        (
            served(api(404, "the server could not find the requested resource")),
            5,
        ),
        (served(api(503, "service unavailable")), 5),
        (refused(api(403, "no")), 4),
        (refused(api(404, "404 page not found")), 3),
        (Error::Write(io::ErrorKind::StorageFull.into()), 1),
    ] {
        assert_eq!(error.code(), code, "{error}");
    }
}

/// The answer to one request: a code, and pieces of a log; the last one may be an error.
type Answer = (u16, Vec<Result<&'static str, ()>>);

/// Shows a log from these answers. Returns what was printed, how it ended and which queries were sent.
async fn shown(answers: Vec<Answer>) -> (String, Result<(), Error>, Vec<String>) {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(query);
        let (code, pieces) = answers.lock().unwrap().next().unwrap();
        let frames = pieces.into_iter().map(|piece| {
            piece
                .map(|text| Frame::data(Bytes::from(text)))
                .map_err(|()| io::Error::from(io::ErrorKind::ConnectionReset))
        });
        let mut response = Response::new(StreamBody::new(stream::iter(frames)));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let client = Client::new(service, "default");
    let mut out = Vec::new();
    let mut printer = Printer::new(Output::Text, false, &mut out);
    let ended = show(&client, "n", "b", true, &mut printer).await;
    let asked = asked.lock().unwrap().clone();
    (String::from_utf8(out).unwrap(), ended, asked)
}

#[tokio::test]
async fn a_log_that_breaks_off_is_taken_up_where_it_was() {
    let unavailable = r#"{"kind":"Status","status":"Failure","code":503,"message":"away"}"#;
    let (text, ended, asked) = shown(vec![
        (200, vec![Ok("one\ntw"), Err(())]),
        (503, vec![Ok(unavailable)]),
        (200, vec![Ok("o\n")]),
    ])
    .await;
    ended.unwrap();
    assert_eq!(text, "one\ntwo\n");
    assert_eq!(
        asked,
        [
            "follow=true&skipBytes=0",
            "follow=true&skipBytes=6",
            "follow=true&skipBytes=6"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_is_away_for_long_is_waited_for_and_not_for_ever() {
    let away = || {
        let status = r#"{"kind":"Status","status":"Failure","code":503,"message":"away"}"#;
        (503, vec![Ok(status)])
    };
    for (times, back, whole) in [(119, true, "one\n"), (120, false, "one")] {
        let broken = (200, vec![Ok("one"), Err(())]);
        let rest = (200, vec![Ok("\n")]);
        let answers = std::iter::once(broken)
            .chain((0..times).map(|_| away()))
            .chain([rest]);
        let (text, ended, _) = shown(answers.collect()).await;
        assert_eq!((text.as_str(), ended.is_ok()), (whole, back), "{times}");
    }
}

#[tokio::test]
async fn where_nothing_ever_answers_nobody_is_kept_waiting() {
    let unavailable = r#"{"kind":"Status","status":"Failure","code":503,"message":"away"}"#;
    let (text, ended, asked) = shown(vec![(503, vec![Ok(unavailable)])]).await;
    assert_eq!(
        (text.as_str(), ended.unwrap_err().code(), asked.len()),
        ("", 5, 1)
    );
}
