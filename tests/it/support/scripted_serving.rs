//! A model server that speaks TensorFlow Serving's API over real gRPC and says what a test wants. For faults and
//! speed: what TensorFlow itself answers is tested end to end, against its runtime (tests/e2e).

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use prost::Message;
use spotter::backend::serving::proto::tensorflow::serving::model_service_server::{ModelService, ModelServiceServer};
use spotter::backend::serving::proto::tensorflow::serving::prediction_service_server::{
    PredictionService, PredictionServiceServer,
};
use spotter::backend::serving::proto::tensorflow::serving::{
    GetModelMetadataRequest, GetModelMetadataResponse, GetModelStatusRequest, GetModelStatusResponse, ModelSpec,
    ModelVersionStatus, PredictRequest, PredictResponse, SignatureDefMap, StatusProto, model_spec,
    model_version_status::State,
};
use spotter::backend::serving::proto::tensorflow::tensor_shape_proto::Dim;
use spotter::backend::serving::proto::tensorflow::{DataType, SignatureDef, TensorInfo, TensorProto, TensorShapeProto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::server::Connected;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tower::util::MapResponseLayer;

type Answer = Arc<dyn Fn(&PredictRequest) -> Result<PredictResponse, Status> + Send + Sync>;

/// What the server says; a test changes it while it runs.
#[derive(Clone)]
pub struct Script {
    /// The version behind "latest" and its state.
    pub version: i64,
    pub state: State,
    /// Versions that are AVAILABLE beside it.
    pub kept: Vec<i64>,
    /// A version whose Predicts wait until they are released, one by one.
    pub cold: Option<i64>,
    /// The version that takes its place as soon as somebody has asked for its signature.
    pub successor: Option<i64>,
    /// What loading the version failed with.
    pub load_error: Option<String>,
    /// `version_label` to version.
    pub labels: HashMap<String, i64>,
    /// The signature of the version.
    pub signature: SignatureDef,
    /// The answer to a Predict.
    pub predict: Answer,
    /// The answer to every call, where it is a refusal.
    pub refuse: Option<Status>,
    /// How long a Predict takes.
    pub delay: Duration,
    /// Whether a Predict waits until it is released, which may be never.
    pub hang: bool,
    /// Whether every answer is a frame of gRPC with a message in it that is none.
    pub garbled: bool,
    /// Whether every answer is followed by others without end.
    pub goes_on: bool,
}

/// What was received.
#[derive(Default)]
pub struct Received {
    pub predicts: Vec<(MetadataMap, PredictRequest)>,
    pub metadata: usize,
    pub status: usize,
    /// Predicts that were dropped before they were answered: cancelled by the caller.
    pub cancelled: usize,
    /// The other ends of the connections that Predicts came by.
    pub peers: HashSet<SocketAddr>,
}

/// The server.
pub struct ScriptedServing {
    address: SocketAddr,
    inner: Arc<Inner>,
    stop: Option<oneshot::Sender<()>>,
}

struct Inner {
    script: Mutex<Script>,
    received: Mutex<Received>,
    release: Notify,
}

/// Counts a Predict as cancelled unless it was answered.
struct Unanswered<'a>(&'a Inner);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.received.lock().unwrap().cancelled += 1;
    }
}

impl ScriptedServing {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    pub fn on(listener: TcpListener, script: Script) -> Self {
        let address = listener.local_addr().unwrap();
        Self::serve(Server::builder(), TcpListenerStream::new(listener), address, script)
    }

    /// One that takes leave of each connection by GOAWAY when it is that old.
    pub async fn with_connections_of(age: Duration, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().max_connection_age(age);
        Self::serve(server, TcpListenerStream::new(listener), address, script)
    }

    /// With TLS, on a free port.
    pub async fn over_tls(tls: ServerTlsConfig, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().tls_config(tls).unwrap();
        Self::serve(server, TcpListenerStream::new(listener), address, script)
    }

    /// On a Unix socket; it has no URL.
    pub fn on_socket_file(path: &Path, script: Script) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self::serve(Server::builder(), UnixListenerStream::new(UnixListener::bind(path).unwrap()), nowhere, script)
    }

    fn serve<I, S>(server: Server, incoming: I, address: SocketAddr, script: Script) -> Self
    where
        I: Stream<Item = std::io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let inner = Arc::new(Inner { script: Mutex::new(script), received: Mutex::default(), release: Notify::new() });
        let (stop, stopped) = oneshot::channel::<()>();
        let limit = usize::MAX;
        let script = Arc::clone(&inner);
        let garble = move |answer: http::Response<Body>| {
            let Script { garbled, goes_on, .. } = *script.script.lock().unwrap();
            match (garbled, goes_on) {
                (true, _) => answer.map(|_| garbage()),
                (_, true) => answer.map(endless),
                (false, false) => answer,
            }
        };
        let server = server
            .layer(MapResponseLayer::new(garble))
            .add_service(PredictionServiceServer::from_arc(Arc::clone(&inner)).max_decoding_message_size(limit))
            .add_service(ModelServiceServer::from_arc(Arc::clone(&inner)))
            .serve_with_incoming_shutdown(incoming, async {
                let _ = stopped.await;
            });
        tokio::spawn(server);
        Self { address, inner, stop: Some(stop) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it says from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.inner.script.lock().unwrap());
    }

    /// Lets a Predict that waits go on.
    pub fn release(&self) {
        self.inner.release.notify_one();
    }

    /// Waits until what was received is as described.
    pub async fn until(&self, condition: impl Fn(&Received) -> bool) {
        while !self.received(&condition) {
            tokio::task::yield_now().await;
        }
    }

    /// Looks at what was received.
    pub fn received<T>(&self, look: impl FnOnce(&Received) -> T) -> T {
        look(&self.inner.received.lock().unwrap())
    }

    /// The last Predict, with its metadata.
    pub fn last_predict(&self) -> (MetadataMap, PredictRequest) {
        self.received(|received| received.predicts.last().cloned()).expect("a Predict was received")
    }

    /// Stops listening; the port is free afterwards.
    pub fn stop(&mut self) {
        self.stop.take();
    }
}

impl Inner {
    /// The script, and the version that the request means.
    fn read(&self, spec: Option<&ModelSpec>) -> Result<(Script, i64), Status> {
        let script = self.script.lock().unwrap().clone();
        if let Some(refusal) = &script.refuse {
            return Err(refusal.clone());
        }
        let spec = spec.ok_or_else(|| Status::invalid_argument("Missing ModelSpec"))?;
        if spec.name != "model" {
            return Err(Status::not_found(format!("Servable not found for request: Latest({})", spec.name)));
        }
        let version = match &spec.version_choice {
            None => script.version,
            Some(model_spec::VersionChoice::Version(version)) => *version,
            Some(model_spec::VersionChoice::VersionLabel(label)) => *script
                .labels
                .get(label)
                .ok_or_else(|| Status::invalid_argument(format!("Unrecognized servable version label: {label}")))?,
        };
        if version != script.version && !script.kept.contains(&version) {
            return Err(Status::not_found(format!("Servable not found for request: Specific(model, {version})")));
        }
        Ok((script, version))
    }
}

/// A field whose number is 0, which none has.
fn garbage() -> Body {
    let ok = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let message = Full::new(Bytes::from_static(&[0, 0, 0, 0, 3, 0, 0, 0]));
    Body::new(message.with_trailers(std::future::ready(Some(Ok(ok)))))
}

/// The message, and an empty one after the other behind it.
fn endless(answer: Body) -> Body {
    let messages =
        futures::stream::repeat_with(|| Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(&[0; 5000]))));
    let answer = http_body_util::BodyStream::new(answer);
    let first = answer.take_while(|frame| std::future::ready(frame.as_ref().is_ok_and(http_body::Frame::is_data)));
    Body::new(http_body_util::StreamBody::new(first.chain(messages)))
}

fn answered(version: i64) -> ModelSpec {
    ModelSpec {
        name: "model".to_owned(),
        version_choice: Some(model_spec::VersionChoice::Version(version)),
        signature_name: "serving_default".to_owned(),
    }
}

#[tonic::async_trait]
impl PredictionService for Inner {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        self.received.lock().unwrap().peers.extend(request.remote_addr());
        let (metadata, _, message) = request.into_parts();
        self.received.lock().unwrap().predicts.push((metadata, message.clone()));
        let (script, version) = self.read(message.model_spec.as_ref())?;
        if script.hang || script.cold == Some(version) {
            let unanswered = Unanswered(self);
            self.release.notified().await;
            std::mem::forget(unanswered);
        }
        tokio::time::sleep(script.delay).await;
        let mut response = (script.predict)(&message)?;
        response.model_spec.get_or_insert_with(|| answered(version));
        Ok(Response::new(response))
    }

    async fn get_model_metadata(
        &self,
        request: Request<GetModelMetadataRequest>,
    ) -> Result<Response<GetModelMetadataResponse>, Status> {
        let message = request.into_inner();
        self.received.lock().unwrap().metadata += 1;
        let (script, version) = self.read(message.model_spec.as_ref())?;
        assert_eq!(message.metadata_field, ["signature_def"]);
        {
            let mut script = self.script.lock().unwrap();
            script.version = script.successor.take().unwrap_or(script.version);
        }
        let init = SignatureDef::default();
        let map = SignatureDefMap {
            signature_def: HashMap::from([
                ("serving_default".to_owned(), script.signature),
                ("__saved_model_init_op".to_owned(), init),
            ]),
        };
        let any = prost_types::Any {
            type_url: "type.googleapis.com/tensorflow.serving.SignatureDefMap".to_owned(),
            value: map.encode_to_vec(),
        };
        Ok(Response::new(GetModelMetadataResponse {
            model_spec: Some(answered(version)),
            metadata: HashMap::from([("signature_def".to_owned(), any)]),
        }))
    }
}

#[tonic::async_trait]
impl ModelService for Inner {
    async fn get_model_status(
        &self,
        request: Request<GetModelStatusRequest>,
    ) -> Result<Response<GetModelStatusResponse>, Status> {
        self.received.lock().unwrap().status += 1;
        let script = self.script.lock().unwrap().clone();
        if let Some(refusal) = script.refuse {
            return Err(refusal);
        }
        let name = request.into_inner().model_spec.unwrap_or_default().name;
        if name != "model" {
            return Err(Status::not_found(format!("Could not find any versions of model {name}")));
        }
        let status = StatusProto {
            error_code: i32::from(script.load_error.is_some()),
            error_message: script.load_error.unwrap_or_default(),
        };
        let version = ModelVersionStatus { version: script.version, state: script.state.into(), status: Some(status) };
        let kept = script.kept.iter().map(|&version| ModelVersionStatus {
            version,
            state: State::Available.into(),
            status: Some(StatusProto::default()),
        });
        Ok(Response::new(GetModelStatusResponse { model_version_status: kept.chain([version]).collect() }))
    }
}

impl Script {
    /// A TF Object Detection model with this input; it sees a cat in the middle half of every picture, and a dog that
    /// is too uncertain to be listed.
    pub fn detector(key: &str, dtype: DataType, axes: &[i64]) -> Self {
        let f32_of = |axes: &[i64]| info(DataType::DtFloat, axes);
        let outputs = [
            ("detection_boxes", f32_of(&[1, 100, 4])),
            ("detection_scores", f32_of(&[1, 100])),
            ("detection_classes", f32_of(&[1, 100])),
            ("num_detections", f32_of(&[1])),
            ("raw_detection_boxes", f32_of(&[1, 51_150, 4])),
            ("raw_detection_scores", f32_of(&[1, 51_150, 91])),
        ];
        let signature = SignatureDef {
            inputs: HashMap::from([(key.to_owned(), info(dtype, axes))]),
            outputs: outputs.map(|(key, info)| (key.to_owned(), info)).into(),
            method_name: "tensorflow/serving/predict".to_owned(),
        };
        Self {
            version: 3,
            state: State::Available,
            kept: Vec::new(),
            cold: None,
            successor: None,
            load_error: None,
            labels: HashMap::new(),
            signature,
            predict: Arc::new(|_| Ok(cat_and_dog())),
            refuse: None,
            delay: Duration::ZERO,
            hang: false,
            garbled: false,
            goes_on: false,
        }
    }

    /// The commonest export: `input_tensor`, uint8, any size.
    pub fn image_tensor() -> Self {
        Self::detector("input_tensor", DataType::DtUint8, &[1, -1, -1, 3])
    }

    /// With another output in its signature.
    pub fn declaring(mut self, key: &str, dtype: DataType, axes: &[i64]) -> Self {
        self.signature.outputs.insert(key.to_owned(), info(dtype, axes));
        self
    }

    /// The same with another answer.
    pub fn answering(answer: PredictResponse) -> Self {
        Self { predict: Arc::new(move |_| Ok(answer.clone())), ..Self::image_tensor() }
    }
}

pub fn info(dtype: DataType, axes: &[i64]) -> TensorInfo {
    TensorInfo { name: "tensor:0".to_owned(), dtype: dtype.into(), tensor_shape: Some(shape(axes)) }
}

fn shape(axes: &[i64]) -> TensorShapeProto {
    let dim = axes.iter().map(|&size| Dim { size, name: String::new() }).collect();
    TensorShapeProto { dim, unknown_rank: false }
}

/// A tensor in typed fields, as TensorFlow Serving answers by default.
pub fn floats(axes: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(shape(axes)),
        float_val: values.to_vec(),
        ..TensorProto::default()
    }
}

/// The same in raw bytes, as it answers with `--enable_serialization_as_tensor_content`.
pub fn raw_floats(axes: &[i64], values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { float_val: Vec::new(), tensor_content: bytes.into(), ..floats(axes, values) }
}

/// Three rows, of which the last is padding.
pub fn cat_and_dog() -> PredictResponse {
    response(&[
        ("detection_boxes", floats(&[1, 3, 4], &[0.25, 0.25, 0.75, 0.75, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])),
        ("detection_scores", floats(&[1, 3], &[0.9, 0.1, 0.9])),
        ("detection_classes", floats(&[1, 3], &[17.0, 18.0, 1.0])),
        ("num_detections", floats(&[1], &[2.0])),
    ])
}

/// One cat, as sure as that.
pub fn response_with_score(score: f32) -> PredictResponse {
    response_with_boxes(score, 1)
}

/// The same cat as often.
pub fn response_with_boxes(score: f32, boxes: usize) -> PredictResponse {
    let rows = boxes as i64;
    response(&[
        ("detection_boxes", floats(&[1, rows, 4], &[0.25, 0.25, 0.75, 0.75].repeat(boxes))),
        ("detection_scores", floats(&[1, rows], &vec![score; boxes])),
        ("detection_classes", floats(&[1, rows], &vec![17.0; boxes])),
        ("num_detections", floats(&[1], &[boxes as f32])),
    ])
}

pub fn response(outputs: &[(&str, TensorProto)]) -> PredictResponse {
    let outputs = outputs.iter().map(|(key, tensor)| ((*key).to_owned(), tensor.clone())).collect();
    PredictResponse { outputs, model_spec: None }
}

/// The seconds that a call was given.
pub fn grpc_timeout(metadata: &MetadataMap) -> f64 {
    let timeout = metadata.get("grpc-timeout").expect("every call has a deadline").to_str().unwrap();
    let (number, unit) = timeout.split_at(timeout.len() - 1);
    let unit = match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "S" => 1.0,
        other => panic!("unit {other}"),
    };
    number.parse::<f64>().unwrap() * unit
}
