//! The steps of one photo's way, each ready to be repeated: what the micro-benchmarks and the instruction counts run.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use spotter::backend::embedded::{Embedded, Engine};
use spotter::backend::serving::answer;
use spotter::backend::serving::predict::Framed;
use spotter::backend::serving::proto::tensorflow::serving::{ModelSpec, PredictRequest, PredictResponse, model_spec};
use spotter::backend::serving::proto::tensorflow::tensor_shape_proto::Dim;
use spotter::backend::serving::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use spotter::backend::{Backend, Call, Predict, Target};
use spotter::deadline::Deadline;
use spotter::geometry::{Letterbox, Size, View};
use spotter::image::encode::{Picture, encode};
use spotter::image::{Encoded, Limits, Rgb};
use spotter::model::adapter::{self, Adapter, Outputs};
use spotter::model::input::Prepared;
use spotter::model::version::VersionChoice;
use spotter::request_id::RequestId;
use spotter::workers::Workers;
use tokio::runtime::Runtime;

const PHOTO: Size = Size::new(2000, 1500);
const LIMITS: Limits = Limits { max_bytes: 64 << 20, max_pixels: 100_000_000 };

/// A step, ready to be repeated.
pub(crate) type Step = Box<dyn FnMut()>;

/// Makes a step ready.
pub(crate) type Make = fn() -> Step;

/// Every step under its name, in the order of a photo's way; each is made ready by itself, because under callgrind an
/// inference takes a minute.
pub(crate) const STEPS: [(&str, Make); 7] = [
    ("inspect", inspect),
    ("decode/whole", decode_whole),
    ("decode/for_416", decode_for_416),
    ("prepare/416_nchw_f32", prepare),
    ("wire/1024_x_768_u8", wire),
    ("read/8400_x_84_f32", read),
    ("interpret/nanodet", interpret),
];

/// A JPEG of 3 megapixels, with grain.
fn photo() -> Bytes {
    let mut state = 1u32;
    let pixels = (0..PHOTO.height).flat_map(|y| (0..PHOTO.width).map(move |x| (x, y))).flat_map(|(x, y)| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = state >> 28;
        [x / 8 + grain, y / 6 + grain, 200 - grain].map(|level| level.min(255) as u8)
    });
    encode(&Rgb::new(PHOTO, pixels.collect()).expect("as many pixels"), Picture::Jpeg).expect("a JPEG")
}

fn encoded() -> Encoded {
    Encoded::inspect(photo(), &LIMITS).expect("a photo")
}

/// The built-in detector, and how a photo comes to it and back.
struct Detector {
    embedded: Embedded,
    signature: String,
    adapter: Adapter,
    letterbox: Letterbox,
    call: Call,
    runtime: Runtime,
}

impl Detector {
    fn new() -> Self {
        let embedded = Embedded::nanodet_g(&Engine::Rten, Workers::new(1)).expect("the built-in detector");
        let call = Call::new(Deadline::after(Duration::from_secs(3600)), RequestId::generate());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let signature = runtime.block_on(embedded.signature(&target(&embedded), None, &call)).expect("a signature").1;
        let adapter = adapter::choose(&signature).expect("NanoDet");
        let letterbox = adapter.input.letterbox(View::whole(PHOTO), 1024);
        Self { embedded, signature: signature.name.clone(), adapter, letterbox, call, runtime }
    }

    /// What the model makes of a prepared photo.
    fn outputs(&self, prepared: Prepared) -> Outputs {
        let predict = Predict {
            target: target(&self.embedded),
            signature: self.signature.clone(),
            input: (self.adapter.input.key.clone(), prepared.tensor),
            outputs: self.adapter.outputs.clone(),
        };
        self.runtime.block_on(self.embedded.predict(predict, &self.call)).expect("outputs").outputs
    }
}

fn target(embedded: &Embedded) -> Target {
    Target { model: embedded.name().to_owned(), version: VersionChoice::Latest }
}

fn inspect() -> Step {
    let bytes = encoded().untouched().expect("an upright JPEG").clone();
    Box::new(move || drop(black_box(Encoded::inspect(bytes.clone(), &LIMITS))))
}

fn decode_whole() -> Step {
    let photo = encoded();
    Box::new(move || drop(black_box(photo.decode())))
}

fn decode_for_416() -> Step {
    let (photo, least) = (encoded(), Detector::new().letterbox.least());
    Box::new(move || drop(black_box(photo.decode_at_least(least))))
}

fn prepare() -> Step {
    let Detector { adapter, letterbox, .. } = Detector::new();
    let reduced = encoded().decode_at_least(letterbox.least()).expect("a photo");
    Box::new(move || drop(black_box(adapter.input.prepare(Cow::Borrowed(&reduced), letterbox))))
}

fn wire() -> Step {
    let dim = [1, 768, 1024, 3].map(|size| Dim { size, name: String::new() }).to_vec();
    let tensor = TensorProto {
        dtype: DataType::DtUint8.into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        tensor_content: vec![7; 768 * 1024 * 3].into(),
        ..TensorProto::default()
    };
    let request = PredictRequest::default();
    Box::new(move || drop(black_box(Framed::new(&request, "input_tensor", tensor.clone()))))
}

/// The answer of a YOLO, from its message to numbers; as `float_val`, in which TensorFlow Serving answers.
fn read() -> Step {
    let dim = [1, 84, 8400].map(|size| Dim { size, name: String::new() }).to_vec();
    let tensor = TensorProto {
        dtype: DataType::DtFloat.into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        float_val: vec![0.5; 84 * 8400],
        ..TensorProto::default()
    };
    let model_spec = ModelSpec { version_choice: Some(model_spec::VersionChoice::Version(1)), ..ModelSpec::default() };
    let outputs = [("output0".to_owned(), tensor)].into();
    let message = Bytes::from(PredictResponse { model_spec: Some(model_spec), outputs }.encode_to_vec());
    let wanted = ["output0".to_owned()];
    Box::new(move || {
        let answer = PredictResponse::decode(message.clone()).expect("a message");
        drop(black_box(answer::prediction(answer, &wanted, 64 << 20)));
    })
}

fn interpret() -> Step {
    let detector = Detector::new();
    let letterbox = detector.letterbox;
    let reduced = encoded().decode_at_least(letterbox.least()).expect("a photo");
    let prepared = detector.adapter.input.prepare(Cow::Owned(reduced), letterbox).expect("a tensor");
    let outputs = detector.outputs(prepared);
    Box::new(move || drop(black_box(detector.adapter.interpret(&outputs, letterbox.canvas, 0.3))))
}
