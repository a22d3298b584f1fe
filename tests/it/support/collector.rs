//! A collector of traces over real gRPC: it keeps what it is sent.

use std::collections::HashMap;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The spans so far, and the name of the service that sent them.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    pub service: String,
    pub spans: Vec<Span>,
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    collected: watch::Receiver<Collected>,
}

struct Service(watch::Sender<Collected>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|collected| {
            for of in request.into_inner().resource_spans {
                let attributes = of.resource.unwrap_or_default().attributes;
                collected.service = texts(&attributes).remove("service.name").unwrap_or_default();
                collected.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, collected) = watch::channel(Collected::default());
        let server = Server::builder().add_service(TraceServiceServer::new(Service(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, collected }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has been sent by now.
    pub fn collected(&self) -> Collected {
        self.collected.borrow().clone()
    }
}

/// Attributes as text.
pub fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}
