use lambda_http::{
    Body, Response,
    http::{
        HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
    },
};
use serde::Serialize;
use serde_json::json;

/// When a client may ask again after an outage.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Why a request has no figures, as the answer says it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A parameter is missing or invalid.
    #[error("{0}")]
    Parameter(String),
    /// The path does not exist.
    #[error("there is no {0}")]
    Path(String),
    /// The method is neither GET nor HEAD.
    #[error("{0} is not allowed; only GET and HEAD are")]
    Method(Method),
    /// The warehouse returned no figures. The log says why.
    #[error("the warehouse does not answer")]
    Unavailable,
}

/// RFC 9457 problem details.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Problem", extend("additionalProperties" = true)))]
pub struct Details {
    /// What is wrong with this request.
    detail: String,
    /// The HTTP status.
    #[cfg_attr(test, schemars(range(min = 400, max = 599)))]
    status: u16,
    /// The kind of problem.
    title: &'static str,
    /// Names the kind of problem; about:blank where the status says all.
    #[cfg_attr(test, schemars(extend("format" = "uri-reference")))]
    r#type: &'static str,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Parameter(_) => StatusCode::BAD_REQUEST,
            Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer, with RFC 9457 problem details.
    pub fn into_response(self) -> Response<Body> {
        let status = self.status();
        let details = Details {
            detail: self.to_string(),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default(),
            r#type: "about:blank",
        };
        let mut response = Response::new(Body::Text(json!(details).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Method(_) => headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD")),
            Self::Unavailable => headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into()),
            _ => None,
        };
        response
    }
}
