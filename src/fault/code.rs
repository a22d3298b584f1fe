//! Every way a request can fail: one row a failure.

/// What failed, as a stable name that clients may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table below says what each one means")]
pub enum Code {
    MissingImage,
    InvalidBase64,
    InvalidJson,
    InvalidMultipart,
    InvalidRequest,
    Unauthorized,
    NotFound,
    UnknownModel,
    UnknownVersion,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    UploadTimeout,
    PayloadTooLarge,
    BatchTooLarge,
    ImageTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    UnsupportedEncoding,
    UnsupportedImageFormat,
    UnreadableImage,
    InvalidOption,
    ImageUrlRefused,
    ImageUrlFailed,
    RateLimited,
    HeadTooLarge,
    Internal,
    ModelContract,
    ModelUnavailable,
    Overloaded,
    Draining,
    ModelDeadline,
    DeadlineExceeded,
}

/// What is fixed about a failure.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The stable name, as it stands in JSON, logs and docs.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A short text that is the same for every occurrence (RFC 9457, 3.1.3).
    pub title: &'static str,
    /// What it means and what to do about it; shown on the failure's own page.
    pub help: &'static str,
}

impl Code {
    /// Every failure, in the order of its status.
    pub const ALL: [Self; 33] = [
        Self::MissingImage,
        Self::InvalidBase64,
        Self::InvalidJson,
        Self::InvalidMultipart,
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::UnknownModel,
        Self::UnknownVersion,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::UploadTimeout,
        Self::PayloadTooLarge,
        Self::BatchTooLarge,
        Self::ImageTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::UnsupportedEncoding,
        Self::UnsupportedImageFormat,
        Self::UnreadableImage,
        Self::InvalidOption,
        Self::ImageUrlRefused,
        Self::ImageUrlFailed,
        Self::RateLimited,
        Self::HeadTooLarge,
        Self::Internal,
        Self::ModelContract,
        Self::ModelUnavailable,
        Self::Overloaded,
        Self::Draining,
        Self::ModelDeadline,
        Self::DeadlineExceeded,
    ];

    /// The table.
    pub const fn row(self) -> Row {
        let (name, status, title, help) = match self {
            Self::MissingImage => (
                "MISSING_IMAGE",
                400,
                "No image in the request",
                "Send the photo as multipart part `image`, as JSON field `image` (base64) or as the raw body.",
            ),
            Self::InvalidBase64 => (
                "INVALID_BASE64",
                400,
                "The image is not valid base64",
                "Encode the file's bytes as base64 (standard or URL-safe alphabet, padding optional), alone or as a data: URI.",
            ),
            Self::InvalidJson => (
                "INVALID_JSON",
                400,
                "The body is not valid JSON",
                "Send one JSON object; the detail names line and column.",
            ),
            Self::InvalidMultipart => (
                "INVALID_MULTIPART",
                400,
                "The multipart body is malformed",
                "Let the HTTP client build the form: it writes the boundary into Content-Type by itself.",
            ),
            Self::InvalidRequest => {
                ("INVALID_REQUEST", 400, "The request is malformed", "The detail says which part cannot be read.")
            }
            Self::Unauthorized => (
                "UNAUTHORIZED",
                401,
                "A key is needed",
                "Send one of the service's keys as `Authorization: Bearer <key>` or as `X-API-Key: <key>`. Whoever runs the service gives them out.",
            ),
            Self::NotFound => ("NOT_FOUND", 404, "No such route", "GET /docs lists every route."),
            Self::UnknownModel => ("UNKNOWN_MODEL", 404, "No such model", "GET /v1/models lists the models."),
            Self::UnknownVersion => (
                "UNKNOWN_VERSION",
                404,
                "No such version of the model",
                "GET /v1/models/{model} lists the versions and their states.",
            ),
            Self::MethodNotAllowed => (
                "METHOD_NOT_ALLOWED",
                405,
                "The route does not take this method",
                "The Allow header lists the methods it takes.",
            ),
            Self::NotAcceptable => (
                "NOT_ACCEPTABLE",
                406,
                "No answer in the accepted media types",
                "Accept application/json for boxes, image/jpeg or image/png for the annotated photo.",
            ),
            Self::RequestTimeout => (
                "REQUEST_TIMEOUT",
                408,
                "The request's head took too long",
                "Send the request line and the headers at once, within --head-timeout-ms.",
            ),
            Self::UploadTimeout => (
                "UPLOAD_TIMEOUT",
                408,
                "The upload took too long",
                "The body paused for longer than --upload-pause-ms, or did not arrive before the request's deadline. Send a smaller photo, or raise --request-timeout-ms.",
            ),
            Self::PayloadTooLarge => {
                ("PAYLOAD_TOO_LARGE", 413, "Too many bytes", "Send a smaller file, or raise --max-image-bytes.")
            }
            Self::BatchTooLarge => (
                "BATCH_TOO_LARGE",
                413,
                "Too many photos in one batch",
                "Send several smaller batches, or raise --max-batch-photos.",
            ),
            Self::ImageTooLarge => (
                "IMAGE_TOO_LARGE",
                413,
                "Too many pixels",
                "Send the photo at a smaller size, or raise --max-image-pixels. It is decided from the header, before any pixel is decoded.",
            ),
            Self::UriTooLong => (
                "URI_TOO_LONG",
                414,
                "The request's target is too long",
                "A target has up to 65534 bytes; options may be sent in the body.",
            ),
            Self::UnsupportedMediaType => (
                "UNSUPPORTED_MEDIA_TYPE",
                415,
                "The request form is not one of the three",
                "Send multipart/form-data, application/json, or the raw image as image/* or application/octet-stream.",
            ),
            Self::UnsupportedEncoding => (
                "UNSUPPORTED_ENCODING",
                415,
                "The body is compressed in a way that is not read",
                "Send the body as it is, or with Content-Encoding gzip or deflate.",
            ),
            Self::UnsupportedImageFormat => (
                "UNSUPPORTED_IMAGE_FORMAT",
                415,
                "The image format is not supported",
                "Send JPEG, PNG, WebP, GIF, BMP or TIFF. The format is recognised by the bytes, not by name or declared type.",
            ),
            Self::UnreadableImage => (
                "UNREADABLE_IMAGE",
                422,
                "The image cannot be decoded",
                "The file is truncated or damaged; export it again.",
            ),
            Self::InvalidOption => (
                "INVALID_OPTION",
                422,
                "An option is unknown or out of range",
                "`errors` names each option with its bound.",
            ),
            Self::ImageUrlRefused => (
                "IMAGE_URL_REFUSED",
                422,
                "The photo's address may not be asked",
                "Photos are fetched from public addresses only, by the schemes that --image-url-schemes allows (by default none). Send the photo itself, or an address that anybody on the internet could open.",
            ),
            Self::ImageUrlFailed => (
                "IMAGE_URL_FAILED",
                422,
                "No photo came from the address",
                "The host did not answer, answered something else than the photo, was not who its certificate says, or took too long. Open the address in a browser, or send the photo itself.",
            ),
            Self::RateLimited => (
                "RATE_LIMITED",
                429,
                "Too many requests from one client",
                "Wait as many seconds as Retry-After says. `limited_by` tells whether the key or the address has asked too often; whoever runs the service sets both rates.",
            ),
            Self::HeadTooLarge => (
                "HEAD_TOO_LARGE",
                431,
                "The request's head is too large",
                "The request line and the headers are too large together, or there are too many headers. Send fewer, such as cookies that are not meant for this service, or raise --max-head-bytes.",
            ),
            Self::Internal => (
                "INTERNAL",
                500,
                "Something broke in spotter",
                "It is a defect, not the request's fault. The log holds the cause under the request id.",
            ),
            Self::ModelContract => (
                "MODEL_CONTRACT",
                502,
                "The model server's answer does not fit",
                "The model's signature or its answer is not one spotter understands. `spotter doctor` says what was found; the log holds the model server's own words.",
            ),
            Self::ModelUnavailable => (
                "MODEL_UNAVAILABLE",
                503,
                "The model is not available",
                "The model server cannot be reached or has not loaded the model. Try again after Retry-After; `spotter doctor` finds the reason.",
            ),
            Self::Overloaded => {
                ("OVERLOADED", 503, "Too many requests at once", "Try again after Retry-After, or add replicas.")
            }
            Self::Draining => (
                "DRAINING",
                503,
                "The service is about to stop",
                "It still answers what reaches it; send new requests to another instance.",
            ),
            Self::ModelDeadline => (
                "MODEL_DEADLINE",
                504,
                "The model server did not answer in time",
                "The model is slower than --request-timeout-ms allows, or overloaded.",
            ),
            Self::DeadlineExceeded => (
                "DEADLINE_EXCEEDED",
                504,
                "The request's time ran out",
                "Time ran out while the photo waited for a core or was worked on. The service is busy, or --request-timeout-ms is too short.",
            ),
        };
        Row { name, status, title, help }
    }

    /// The stable name: `UNKNOWN_MODEL`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The name as a path segment: `unknown-model`.
    pub fn slug(self) -> String {
        self.name().to_ascii_lowercase().replace('_', "-")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_statuses_ascend() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.is_sorted_by_key(|code| code.row().status));
    }
}
