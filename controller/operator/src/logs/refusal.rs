//! An answer without a log → the `Status` by which API servers say so.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

/// An answer without a log.
#[derive(Debug)]
pub(super) enum Refusal {
    Unauthorized(String),
    Forbidden(String),
    NotFound(String),
    TooMany(String),
    Unavailable(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, reason, message) = match self {
            Self::Unauthorized(message) => (StatusCode::UNAUTHORIZED, "Unauthorized", message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, "Forbidden", message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "NotFound", message),
            Self::TooMany(message) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message),
            Self::Unavailable(message) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                message,
            ),
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": code.as_u16()});
        (code, Json(status)).into_response()
    }
}
