use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{Read, Write},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use lambda_http::{
    Body, Response,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
            IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
        },
    },
};
use sha2::{Digest, Sha256};

/// The page loads nothing from other servers, and no other page may show it in a frame.
const SECURITY: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
];

const AS_OF: HeaderName = HeaderName::from_static("quoteflow-as-of");

/// A text to send, stored compressed.
#[derive(Debug, Clone)]
pub struct Content {
    content_type: &'static str,
    gzip: Cow<'static, [u8]>,
}

impl Content {
    /// Compresses `text`.
    ///
    /// # Errors
    /// None in practice, because it is written to memory.
    pub fn text(content_type: &'static str, text: &str) -> std::io::Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes())?;
        Ok(Self { content_type, gzip: gzip.finish()?.into() })
    }

    /// UTF-8 text that is compressed already.
    pub fn compressed(content_type: &'static str, gzip: &'static [u8]) -> Self {
        Self { content_type, gzip: gzip.into() }
    }

    /// 200 with the text, compressed if the client accepts that, or 304 if the client has it.
    pub fn respond(&self, request: &HeaderMap, caching: &str) -> Response<Body> {
        let plain = if takes_gzip(request) { None } else { self.plain().ok() };
        let tag = self.tag(plain.is_none());
        let mut response = Response::new(Body::Empty);
        if has(request, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            *response.body_mut() = if let Some(text) = plain {
                Body::Text(text)
            } else {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Body::Binary(self.gzip.to_vec())
            };
        }
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        for (name, value) in [(CACHE_CONTROL, caching), (ETAG, &tag)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        response
    }

    fn plain(&self) -> std::io::Result<String> {
        let mut text = String::new();
        GzDecoder::new(self.gzip.as_ref()).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A strong validator identifies the bytes that are sent, so the two encodings need different tags.
    fn tag(&self, is_gzip: bool) -> String {
        let mut tag = String::from("\"");
        for byte in &Sha256::digest(&self.gzip)[..16] {
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push_str(if is_gzip { "-gzip\"" } else { "\"" });
        tag
    }
}

/// Adds the time up to which all loaded quotes are in the answer. It is not in the body, so the body stays the same.
pub fn as_of(mut response: Response<Body>, time: &str) -> Response<Body> {
    if let Ok(time) = HeaderValue::from_str(time) {
        response.headers_mut().insert(AS_OF, time);
    }
    response
}

/// Adds the headers of every answer, and removes the body of an answer to HEAD.
pub fn secured(mut response: Response<Body>, method: &Method) -> Response<Body> {
    for (name, value) in SECURITY {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if method == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    response
}

/// The parts of a header's comma-separated lists.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn takes_gzip(request: &HeaderMap) -> bool {
    items(request, ACCEPT_ENCODING).any(|item| {
        let (coding, quality) = item.split_once(';').unwrap_or((item, ""));
        let is_refused = quality.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// RFC 9110, 13.1.2: tags are compared weakly.
fn has(request: &HeaderMap, tag: &str) -> bool {
    items(request, IF_NONE_MATCH).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag)
}
