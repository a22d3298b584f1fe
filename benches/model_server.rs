//! A model server for the benchmarks: TensorFlow Serving's API over real gRPC, answered at once with 100 boxes.
//!
//! Prints its address. Then, for every line that it reads, what it has received since the line before, as JSON; ends with
//! its input.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const VERSION: i64 = 1;
const BOXES: i64 = 100;

struct Scripted {
    signature: SignatureDef,
    answer: PredictResponse,
    predicts: AtomicU64,
    bytes: AtomicU64,
}

fn shape(sides: &[i64]) -> TensorShapeProto {
    let dim = sides.iter().map(|&size| Dim { size, name: String::new() }).collect();
    TensorShapeProto { dim, unknown_rank: false }
}

fn info(key: &str, dtype: DataType, sides: &[i64]) -> (String, TensorInfo) {
    let info = TensorInfo { dtype: dtype.into(), tensor_shape: Some(shape(sides)), ..TensorInfo::default() };
    (key.to_owned(), info)
}

fn floats(sides: &[i64], float_val: Vec<f32>) -> TensorProto {
    TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(shape(sides)),
        float_val,
        ..TensorProto::default()
    }
}

fn spec() -> ModelSpec {
    let version_choice = Some(model_spec::VersionChoice::Version(VERSION));
    ModelSpec { name: "model".to_owned(), version_choice, signature_name: "serving_default".to_owned() }
}

impl Scripted {
    /// A detector of TensorFlow's Object Detection API that takes pixels, or whole files.
    fn new(takes_files: bool) -> Self {
        let input = if takes_files {
            info("input_tensor", DataType::DtString, &[1])
        } else {
            info("input_tensor", DataType::DtUint8, &[1, -1, -1, 3])
        };
        let outputs = [
            info("detection_boxes", DataType::DtFloat, &[1, BOXES, 4]),
            info("detection_scores", DataType::DtFloat, &[1, BOXES]),
            info("detection_classes", DataType::DtFloat, &[1, BOXES]),
            info("num_detections", DataType::DtFloat, &[1]),
        ];
        let signature = SignatureDef {
            inputs: HashMap::from([input]),
            outputs: HashMap::from(outputs),
            method_name: "tensorflow/serving/predict".to_owned(),
        };
        let scores = (0..BOXES).map(|rank| 0.9 / (1.0 + rank as f32)).collect();
        let boxes = (0..BOXES).flat_map(|rank| [0.1, 0.1 + rank as f32 * 0.004, 0.5, 0.6]).collect();
        let outputs = HashMap::from([
            ("detection_boxes".to_owned(), floats(&[1, BOXES, 4], boxes)),
            ("detection_scores".to_owned(), floats(&[1, BOXES], scores)),
            ("detection_classes".to_owned(), floats(&[1, BOXES], vec![17.0; BOXES as usize])),
            ("num_detections".to_owned(), floats(&[1], vec![BOXES as f32])),
        ]);
        let answer = PredictResponse { model_spec: Some(spec()), outputs };
        Self { signature, answer, predicts: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

#[tonic::async_trait]
impl PredictionService for Scripted {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        self.predicts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(request.get_ref().encoded_len() as u64, Ordering::Relaxed);
        Ok(Response::new(self.answer.clone()))
    }

    async fn get_model_metadata(
        &self,
        _: Request<GetModelMetadataRequest>,
    ) -> Result<Response<GetModelMetadataResponse>, Status> {
        let map =
            SignatureDefMap { signature_def: HashMap::from([("serving_default".to_owned(), self.signature.clone())]) };
        let any = prost_types::Any {
            type_url: "type.googleapis.com/tensorflow.serving.SignatureDefMap".to_owned(),
            value: map.encode_to_vec(),
        };
        let metadata = HashMap::from([("signature_def".to_owned(), any)]);
        Ok(Response::new(GetModelMetadataResponse { model_spec: Some(spec()), metadata }))
    }
}

#[tonic::async_trait]
impl ModelService for Scripted {
    async fn get_model_status(
        &self,
        _: Request<GetModelStatusRequest>,
    ) -> Result<Response<GetModelStatusResponse>, Status> {
        let status = ModelVersionStatus {
            version: VERSION,
            state: State::Available.into(),
            status: Some(StatusProto::default()),
        };
        Ok(Response::new(GetModelStatusResponse { model_version_status: vec![status] }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let takes_files = std::env::args().nth(1).as_deref() == Some("files");
    let scripted = Arc::new(Scripted::new(takes_files));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let counts = Arc::clone(&scripted);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (predicts, bytes) =
                (counts.predicts.swap(0, Ordering::Relaxed), counts.bytes.swap(0, Ordering::Relaxed));
            println!("{{\"predicts\": {predicts}, \"bytes\": {bytes}}}");
        }
        std::process::exit(0);
    });
    // As TensorFlow Serving does; otherwise an answer of several writes waits 40 ms for the client's acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .initial_stream_window_size(64 << 20)
        .initial_connection_window_size(256 << 20)
        .add_service(PredictionServiceServer::from_arc(Arc::clone(&scripted)).max_decoding_message_size(usize::MAX))
        .add_service(ModelServiceServer::from_arc(scripted))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
