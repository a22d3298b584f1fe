//! The steps of one photo's way, each ready to be repeated: what the micro-benchmarks and the instruction counts run.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use spotter::backend::embedded::{Embedded, Engine};
use spotter::backend::serving::proto::tensorflow::serving::PredictRequest;
use spotter::backend::serving::proto::tensorflow::tensor_shape_proto::Dim;
use spotter::backend::serving::proto::tensorflow::{DataType, TensorProto, TensorShapeProto};
use spotter::backend::{Backend, Call, Predict, Target};
use spotter::deadline::Deadline;
use spotter::geometry::{Size, View};
use spotter::image::encode::{Picture, encode};
use spotter::image::{Encoded, Limits, Rgb};
use spotter::model::adapter;
use spotter::model::version::VersionChoice;
use spotter::request_id::RequestId;
use spotter::workers::Workers;

const PHOTO: Size = Size::new(2000, 1500);
const LIMITS: Limits = Limits { max_bytes: 64 << 20, max_pixels: 100_000_000 };

/// A step under its name.
pub(crate) type Step = (&'static str, Box<dyn FnMut()>);

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

/// Every step, in the order of a photo's way.
pub(crate) fn all() -> Vec<Step> {
    let photo = Encoded::inspect(photo(), &LIMITS).expect("a photo");
    let bytes = photo.untouched().expect("an upright JPEG").clone();
    let embedded = Embedded::nanodet_g(&Engine::Rten, Workers::new(1)).expect("the built-in detector");
    // Under callgrind an inference takes a minute.
    let call = Call::new(Deadline::after(Duration::from_secs(3600)), RequestId::generate());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let target = Target { model: embedded.name().to_owned(), version: VersionChoice::Latest };
    let (_, signature) = runtime.block_on(embedded.signature(&target, None, &call)).expect("a signature");
    let adapter = adapter::choose(&signature).expect("NanoDet");
    let letterbox = adapter.input.letterbox(View::whole(PHOTO), 1024);
    let reduced = photo.decode_at_least(letterbox.least()).expect("a photo");
    let prepared = adapter.input.prepare(Cow::Borrowed(&reduced), letterbox).expect("a tensor");
    let predict = Predict {
        target,
        signature: signature.name.clone(),
        input: (adapter.input.key.clone(), prepared.tensor),
        outputs: adapter.outputs.clone(),
    };
    let outputs = runtime.block_on(embedded.predict(predict, &call)).expect("outputs").outputs;

    let dim = [1, 768, 1024, 3].map(|size| Dim { size, name: String::new() }).to_vec();
    let tensor = TensorProto {
        dtype: DataType::DtUint8.into(),
        tensor_shape: Some(TensorShapeProto { dim, unknown_rank: false }),
        tensor_content: vec![7; 768 * 1024 * 3].into(),
        ..TensorProto::default()
    };
    let request = PredictRequest { inputs: [("input_tensor".to_owned(), tensor)].into(), ..PredictRequest::default() };

    let (whole, input) = (photo.clone(), adapter.input.clone());
    vec![
        ("inspect", Box::new(move || drop(black_box(Encoded::inspect(bytes.clone(), &LIMITS))))),
        ("decode/whole", Box::new(move || drop(black_box(whole.decode())))),
        ("decode/for_416", Box::new(move || drop(black_box(photo.decode_at_least(letterbox.least()))))),
        ("prepare/416_nchw_f32", Box::new(move || drop(black_box(input.prepare(Cow::Borrowed(&reduced), letterbox))))),
        ("wire/1024_x_768_u8", Box::new(move || drop(black_box(request.encode_to_vec())))),
        ("interpret/nanodet", Box::new(move || drop(black_box(adapter.interpret(&outputs, letterbox.canvas, 0.3))))),
    ]
}
