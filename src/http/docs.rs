//! The OpenAPI document and Swagger UI.
//!
//! Handlers describe what they take and answer. Failures are added here from the table of codes, so that the document
//! cannot forget one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::json;
use utoipa::OpenApi;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::fault::{Code, Fault};
use crate::http::problem::{MEDIA_TYPE, Problem};
use crate::http::{Service, batch, detect, examples, health, metrics, models, request_timeout};
use crate::request_id::RequestId;

/// The names of the two ways to send a key.
const BEARER: &str = "bearer";
const API_KEY: &str = "apiKey";

/// An id as the service makes them, for examples.
const EXAMPLE_ID: &str = "019ab3e0-5c2e-7d31-b3f4-6a0c1c2d3e4f";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "spotter",
        description = "Photo in, labelled pixel boxes out.\n\nFailures are `application/problem+json` (RFC 9457) with a stable `code`; every answer carries `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/")),
    tags(
        (name = "detect", description = "Find objects in a photo."),
        (name = "models", description = "What is served."),
        (name = "health", description = "For probes and monitoring."),
    ),
    components(schemas(Problem)),
)]
struct Document;

/// The routes that need a key where keys are set.
pub(super) fn guarded_routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(detect::detect_default))
        .routes(routes!(detect::detect_with_model))
        .routes(routes!(batch::detect_batch))
        .routes(routes!(batch::detect_batch_with_model))
        .routes(routes!(models::list))
        .routes(routes!(models::describe))
        .routes(routes!(models::labels))
}

/// The route of the metrics, which needs a key as well; apart from the others because it may be elsewhere.
pub(super) fn metrics_route() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(metrics::metrics))
}

/// The routes that are open to all: probes bear no keys.
pub(super) fn open_routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz))
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let mut guarded = guarded_routes().merge(metrics_route()).into_openapi();
    operations(&mut guarded).for_each(add_security);
    document.merge(guarded);
    document.merge(open_routes().into_openapi());
    let components = document.components.get_or_insert_default();
    for code in [Code::NotFound, Code::MethodNotAllowed] {
        components.responses.insert(code.slug(), RefOr::T(problem_response(&[code])));
    }
    add_options(&mut components.schemas, "MultipartUpload", "MultipartBatch");
    add_options(&mut components.schemas, "JsonUpload", "JsonBatch");
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A key of the service.")).build();
    let header = ApiKeyValue::with_description("X-API-Key", "The same key in a header of its own.");
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    components.add_security_scheme(API_KEY, SecurityScheme::ApiKey(ApiKey::Header(header)));
    for operation in operations(&mut document) {
        examples::add(operation);
        add_request_timeout(operation);
        add_problems(operation);
        add_headers(operation);
    }
    document
}

fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|item| [&mut item.get, &mut item.post].into_iter().flatten())
}

/// Either way of sending a key, or none where the service is set up without keys.
fn add_security(operation: &mut Operation) {
    let none: [&str; 0] = [];
    operation.security = Some(vec![
        SecurityRequirement::new(BEARER, none),
        SecurityRequirement::new(API_KEY, none),
        SecurityRequirement::default(),
    ]);
}

/// Swagger UI at /docs and the document at /openapi.json. Its assets are in the binary: clusters have no way out.
pub(super) fn swagger_ui(document: utoipa::openapi::OpenApi) -> Router<Arc<Service>> {
    let script =
        || async { ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("swagger-initializer.js")) };
    // This route is more specific than Swagger UI's own, so it wins.
    Router::from(SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/docs/swagger-initializer.js", get(script))
}

/// The codes that an operation may answer.
fn codes(operation: &Operation) -> Vec<Code> {
    /// Those that every request may meet.
    const ANY: [Code; 5] =
        [Code::InvalidRequest, Code::RequestTimeout, Code::UriTooLong, Code::HeadTooLarge, Code::Internal];
    /// Those of a route that needs a key.
    const GUARDED: [Code; 2] = [Code::Unauthorized, Code::RateLimited];
    /// Those of asking a model something.
    const MODEL: [Code; 5] =
        [Code::ModelContract, Code::ModelUnavailable, Code::Overloaded, Code::ModelDeadline, Code::DeadlineExceeded];
    let operation_id = operation.operation_id.as_deref().unwrap_or_default();
    let mut own: Vec<Code> = Vec::new();
    if operation_id.starts_with("detect") {
        own.extend([
            Code::MissingImage,
            Code::InvalidBase64,
            Code::InvalidJson,
            Code::InvalidMultipart,
            Code::UnknownVersion,
            Code::NotAcceptable,
            Code::UploadTimeout,
            Code::PayloadTooLarge,
            Code::ImageTooLarge,
            Code::UnsupportedMediaType,
            Code::UnsupportedEncoding,
            Code::UnsupportedImageFormat,
            Code::UnreadableImage,
            Code::InvalidOption,
            Code::ImageUrlRefused,
            Code::ImageUrlFailed,
        ]);
    }
    if operation_id.starts_with("detectBatch") {
        own.push(Code::BatchTooLarge);
    }
    if operation_id == "readyz" {
        own.push(Code::Draining);
    }
    let asks_model = asks_model(operation);
    let names_model = matches!(operation_id, "detectWithModel" | "detectBatchWithModel" | "getModel" | "listLabels");
    let mut codes: Vec<Code> = ANY.into_iter().chain(own).collect();
    codes.extend(GUARDED.into_iter().filter(|_| operation.security.is_some()));
    codes.extend(names_model.then_some(Code::UnknownModel));
    codes.extend(MODEL.into_iter().filter(|_| asks_model));
    // In the table's order, which ascends by status.
    Code::ALL.into_iter().filter(|code| codes.contains(code)).collect()
}

fn asks_model(operation: &Operation) -> bool {
    operation.operation_id.as_deref().is_some_and(|id| id.starts_with("detect") || matches!(id, "getModel" | "readyz"))
}

/// The header by which a client says how long it will wait.
fn add_request_timeout(operation: &mut Operation) {
    if !asks_model(operation) {
        return;
    }
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(request_timeout::PATTERN))
        .examples([json!("2.5"), json!("1500ms")])
        .build();
    let parameter = ParameterBuilder::new()
        .name("X-Request-Timeout")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "How long the client will wait, in seconds or, with `ms`, in milliseconds. The shorter of it and the service's own limit holds, over every stage.",
        ))
        .schema(Some(schema))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
}

/// One response a status, with one example a code.
fn add_problems(operation: &mut Operation) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes(operation) {
        by_status.entry(code.row().status).or_default().push(code);
    }
    for (status, codes) in by_status {
        operation.responses.responses.insert(status.to_string(), RefOr::T(problem_response(&codes)));
    }
}

/// A response with one example a code.
fn problem_response(codes: &[Code]) -> Response {
    let names: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.row().title)).collect();
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
    for &code in codes {
        content = content.examples_from_iter([(code.name(), example(code))]);
    }
    ResponseBuilder::new().description(names.join("; ")).content(MEDIA_TYPE, content.build()).build()
}

fn example(code: Code) -> Example {
    let row = code.row();
    let problem =
        Problem::new(&Fault::new(code, row.help), &RequestId::from_caller(EXAMPLE_ID).expect("visible ASCII"));
    ExampleBuilder::new().summary(row.title).value(Some(json!(problem))).build()
}

/// The headers that answers carry.
fn add_headers(operation: &mut Operation) {
    let text = |description: &str| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
            .description(Some(description))
            .build()
    };
    let detects = operation.operation_id.as_deref().is_some_and(|id| id.starts_with("detect"));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(Response { headers, .. }) = response else { continue };
        headers.insert("Server-Timing".to_owned(), text("Milliseconds of each stage and of the whole.").into());
        headers.insert("X-Request-Id".to_owned(), text("The request's id: the caller's own where it sent one.").into());
        if matches!(status.as_str(), "429" | "503") {
            headers.insert("Retry-After".to_owned(), text("Seconds after which to try again.").into());
        }
        if status == "401" {
            headers.insert("WWW-Authenticate".to_owned(), text("How to send a key.").into());
        }
        if detects && status == "200" {
            headers.insert("X-Model-Version".to_owned(), text("The version of the model that answered.").into());
        }
    }
}

/// The options of the form of one photo, which hold for all of the form of several.
fn add_options(schemas: &mut BTreeMap<String, RefOr<Schema>>, one: &str, several: &str) {
    let options: Vec<_> = match schemas.get(one) {
        Some(RefOr::T(Schema::Object(form))) => {
            let is_option = |(name, _): &(&String, &RefOr<Schema>)| !["image", "image_url"].contains(&name.as_str());
            form.properties.iter().filter(is_option).map(|(name, option)| (name.clone(), option.clone())).collect()
        }
        _ => unreachable!("{one} is documented as an object"),
    };
    match schemas.get_mut(several) {
        Some(RefOr::T(Schema::Object(form))) => form.properties.extend(options),
        _ => unreachable!("{several} is documented as an object"),
    }
}
