//! Messages to bytes. Content-Length is always that of the body; it stands where the header stood, else at the end.

use std::io::Write;

use super::header::HeaderName;
use super::headers::Headers;
use super::{Request, Response};

pub(super) fn request(request: &Request) -> Vec<u8> {
    let Request { method, uri, version, headers, body, flaw: _ } = request;
    let mut out = Vec::with_capacity(size_hint(headers, body));
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {uri} {version}\r\n");
    print_rest(&mut out, headers, body);
    out
}

pub(super) fn response(response: &Response) -> Vec<u8> {
    let Response { version, status, reason, headers, body, flaw: _ } = response;
    let mut out = Vec::with_capacity(size_hint(headers, body));
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{version} {status} ");
    out.extend(reason.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
    print_rest(&mut out, headers, body);
    out
}

fn print_rest(out: &mut Vec<u8>, headers: &Headers, body: &[u8]) {
    let mut length_printed = false;
    for field in headers.iter() {
        if *field.name() != HeaderName::CONTENT_LENGTH {
            print_field(out, field.spelling(), field.value());
        } else if !length_printed {
            print_field(out, field.spelling(), body.len().to_string().as_bytes());
            length_printed = true;
        }
    }
    if !length_printed {
        print_field(out, HeaderName::CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

fn print_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn size_hint(headers: &Headers, body: &[u8]) -> usize {
    let fields: usize = headers.iter().map(|field| field.spelling().len() + field.value().len() + 4).sum();
    256 + fields + body.len()
}
