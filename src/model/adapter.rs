//! How the answer of a kind of model reads.
//!
//! An adapter is chosen from the signature alone; nobody types keys. A new kind of model is one more file here and one
//! more line in [`choose`]. What two kinds have in common is here, or in `rows` for those that list N boxes y first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use crate::fault::{Code, Fault};
use crate::geometry::{Canvas, Rect, Size};
use crate::model::input::{CanvasSize, Channels, Form, Input, Layout, Pixels, Resize, Samples};
use crate::model::labels::ClassId;
use crate::model::mapping::{Kind, Mapping};
use crate::model::signature::Signature;
use crate::tensor::{DType, Tensor, TensorSpec, show_shape};

mod boxes;
mod keypoints;
mod masks;
mod model_garden;
mod nanodet;
mod rows;
mod ssd;
mod tf_detection;
mod yolo;
mod yolox;

pub use keypoints::{Keypoint, KeypointOutput};
pub use masks::MaskOutput;

/// A model whose signature was understood: what it takes, what to ask it for, and how to read what it answers.
#[derive(Debug)]
pub struct Adapter {
    /// The kind, as people call it: `TF Object Detection`.
    pub kind: &'static str,
    /// What the model takes.
    pub input: Input,
    /// The outputs that boxes are read from; everything else would be computed and sent for nothing.
    pub outputs: Vec<String>,
    /// How many classes the model tells apart, where the signature says so.
    pub classes: Option<usize>,
    /// Whether it may be one more: nothing tells whether one of the columns is the background's.
    pub or_one_more: bool,
    /// The masks that it can be asked for as well.
    pub masks: Option<MaskOutput>,
    /// The keypoints that it can be asked for as well.
    pub keypoints: Option<KeypointOutput>,
    /// Added to the number of a class to get its id, where the configuration says so.
    class_offset: Option<i64>,
    reader: Box<dyn Reader>,
}

/// How the outputs of a kind of model read.
trait Reader: fmt::Debug + Send + Sync {
    /// See [`Adapter::interpret`].
    fn read(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault>;
}

/// What is wanted of a model beside its boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extras {
    /// A mask for each box.
    pub masks: bool,
    /// Keypoints for each box.
    pub keypoints: bool,
}

impl Adapter {
    /// The outputs to ask for; those that the model does not have are left out.
    pub fn outputs_with(&self, extras: Extras) -> Vec<String> {
        let masks = self.masks.filter(|_| extras.masks).map(|_| masks::MASKS);
        let keypoints = self.keypoints.filter(|_| extras.keypoints);
        let scores = keypoints.filter(|output| output.is_scored).map(|_| keypoints::KEYPOINT_SCORES);
        let more = [masks, keypoints.map(|_| keypoints::KEYPOINTS), scores];
        self.outputs.iter().cloned().chain(more.into_iter().flatten().map(str::to_owned)).collect()
    }

    /// The boxes that score at least `min_score`, best first, in pixels of a canvas of this size.
    ///
    /// # Errors
    /// `MODEL_CONTRACT` where an output is missing or has another shape than the signature promised.
    pub fn interpret(&self, outputs: &Outputs, canvas: Size, min_score: f32) -> Result<Vec<Candidate>, Fault> {
        let mut candidates = self.reader.read(outputs, canvas, min_score)?;
        if let Some(offset) = self.class_offset {
            for candidate in &mut candidates {
                let number = match candidate.class {
                    Class::Id(id) => id,
                    Class::Index(place) => place as ClassId,
                };
                candidate.class = Class::Id(number.saturating_add(offset));
            }
        }
        Ok(candidates)
    }
}

/// How a model names a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// By an id of the label map.
    Id(ClassId),
    /// By its place in the label map, from 0.
    Index(usize),
}

/// One box as the model sees it, in the frame `F`: on the canvas as it is read, in the photo once it is mapped back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<F = Canvas> {
    /// What.
    pub class: Class,
    /// How sure, 0..1; never NaN.
    pub score: f32,
    /// Where.
    pub rect: Rect<F>,
    /// Where in the answers it stands.
    pub origin: Origin,
}

/// The place in a model's answers where an object stands: its mask and its keypoints stand there as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Which view of the photo was asked about.
    pub view: usize,
    /// The row of the outputs; 0 where the kind answers nothing else of a box.
    pub row: usize,
}

impl Origin {
    /// A row of an answer; which view it was is for the caller to say.
    pub const fn row(row: usize) -> Self {
        Self { view: 0, row }
    }
}

impl<F> Candidate<F> {
    /// Descending by score; ties by class and place, so that equal inputs give equal answers.
    pub fn best_first(&self, other: &Self) -> Ordering {
        let place = |c: &Self| [c.rect.x_min, c.rect.y_min, c.rect.x_max, c.rect.y_max];
        other.score.total_cmp(&self.score).then_with(|| self.class.cmp(&other.class)).then_with(|| {
            let pairs = place(self).into_iter().zip(place(other));
            pairs.map(|(a, b)| a.total_cmp(&b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        })
    }
}

/// What a model answered, by output key.
#[derive(Debug, Default)]
pub struct Outputs(HashMap<String, Tensor>);

impl Outputs {
    /// The numbers of an output and its shape.
    ///
    /// # Errors
    /// `MODEL_CONTRACT` where it is missing or holds no numbers.
    pub fn numbers(&self, key: &str) -> Result<(&[usize], &[f32]), Fault> {
        let tensor = self.0.get(key).ok_or_else(|| broken(format!("the answer has no output '{key}'")))?;
        let numbers = tensor.numbers().ok_or_else(|| broken(format!("output '{key}' holds no numbers")))?;
        Ok((tensor.shape(), numbers))
    }

    /// The numbers of an output that must have exactly this shape.
    ///
    /// # Errors
    /// `MODEL_CONTRACT` where it is missing, holds no numbers, or has another shape.
    pub fn shaped(&self, key: &str, expected: &[usize]) -> Result<&[f32], Fault> {
        let (shape, numbers) = self.numbers(key)?;
        if shape == expected {
            Ok(numbers)
        } else {
            let (found, expected) = (show_shape(shape), show_shape(expected));
            Err(broken(format!("output '{key}' has shape {found} where {expected} was expected")))
        }
    }

    /// The outputs and their tensors.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(key, tensor)| (key.as_str(), tensor))
    }
}

impl FromIterator<(String, Tensor)> for Outputs {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(outputs: I) -> Self {
        Self(outputs.into_iter().collect())
    }
}

/// An answer that does not read as the signature promised. What was wrong with it goes to the log: a client can do
/// nothing with it.
fn broken(cause: String) -> Fault {
    Fault::new(Code::ModelContract, "The model's answer does not have the form its signature promised.")
        .caused_by(cause)
}

/// A signature that no adapter understands.
#[derive(Debug, thiserror::Error)]
#[error("no adapter fits the signature. Found: {found}. {}", tried.join(" "))]
pub struct Unfit {
    found: String,
    tried: Vec<String>,
}

/// How a kind recognises its own: the adapter, or what it would have needed.
type Recognise = fn(&Signature) -> Result<Adapter, String>;

/// The adapter that understands this signature, with what the configuration says of the model.
///
/// # Errors
/// What was found and what was needed, or where signature and configuration contradict each other.
pub fn fit(signature: &Signature, mapping: &Mapping) -> Result<Adapter, Unfit> {
    let unfit = |reason| Unfit { found: signature.to_string(), tried: vec![reason] };
    let pinned = mapping.input.pin(signature).map_err(unfit)?;
    let adapter = match &mapping.kind {
        None => choose(&pinned).map_err(|other| Unfit { found: signature.to_string(), ..other }),
        Some(kind) => {
            let adapter = match kind {
                Kind::TfDetection => tf_detection::recognise(&pinned),
                Kind::ModelGarden => model_garden::recognise(&pinned),
                Kind::Ssd => ssd::recognise(&pinned),
                Kind::NanoDet => nanodet::recognise(&pinned),
                Kind::YoloX => yolox::assume(&pinned),
                Kind::YoloV8 => yolo::assume(&pinned, yolo::Export::V8),
                Kind::YoloV5 => yolo::assume(&pinned, yolo::Export::V5),
                Kind::YoloSuppressed => yolo::assume(&pinned, yolo::Export::Suppressed),
                Kind::Boxes(named) => boxes::recognise(&pinned, named),
            };
            adapter.map_err(unfit)
        }
    };
    let mut adapter = adapter?;
    mapping.input.apply(&mut adapter.input).map_err(unfit)?;
    adapter.class_offset = mapping.class_offset;
    Ok(adapter)
}

/// The adapter that understands this signature.
///
/// # Errors
/// What was found and what each adapter would have needed.
pub fn choose(signature: &Signature) -> Result<Adapter, Unfit> {
    const KINDS: [Recognise; 6] = [
        tf_detection::recognise,
        model_garden::recognise,
        ssd::recognise,
        nanodet::recognise,
        yolox::recognise,
        yolo::recognise,
    ];
    let mut tried = Vec::new();
    for recognise in KINDS {
        match recognise(signature) {
            Ok(adapter) => return Ok(adapter),
            Err(reason) => tried.push(reason),
        }
    }
    Err(Unfit { found: signature.to_string(), tried })
}

/// The only input of a signature.
fn only_input(signature: &Signature) -> Option<(&str, &TensorSpec)> {
    let mut inputs = signature.inputs.iter();
    match (inputs.next(), inputs.next()) {
        (Some((key, spec)), None) => Some((key, spec)),
        _ => None,
    }
}

/// What a picture input of a TensorFlow model takes: encoded pictures as strings, else pixels in rows of RGB. An export
/// without a declared rank is taken at its dtype. `float` is what a float32 sample is.
fn picture(spec: &TensorSpec, float: Samples) -> Option<Form> {
    let samples = match spec.dtype {
        DType::String => {
            let fits = matches!(spec.axes.as_deref(), None | Some([Some(1) | None]));
            return fits.then_some(Form::Encoded);
        }
        DType::U8 => Samples::U8,
        DType::F32 => float,
        _ => return None,
    };
    let canvas = match spec.axes.as_deref() {
        None | Some([Some(1) | None, None, None, Some(3) | None]) => CanvasSize::OfThePhoto,
        Some([Some(1) | None, Some(height), Some(width), Some(3) | None]) => CanvasSize::Fixed(size(*width, *height)?),
        Some(_) => return None,
    };
    Some(Form::Pixels(Pixels {
        canvas,
        samples,
        layout: Layout::Nhwc,
        channels: Channels::Rgb,
        resize: Resize::LETTERBOX,
        pad: [0; 3],
    }))
}

/// Layout and size of a float32 picture input whose size is fixed: `[1, 3, H, W]`, as ONNX has it, or `[1, H, W, 3]`.
fn fixed_picture(spec: &TensorSpec) -> Option<(Layout, Size)> {
    if spec.dtype != DType::F32 {
        return None;
    }
    match spec.axes.as_deref()? {
        [Some(1) | None, Some(3), Some(height), Some(width)] => Some((Layout::Nchw, size(*width, *height)?)),
        [Some(1) | None, Some(height), Some(width), Some(3)] => Some((Layout::Nhwc, size(*width, *height)?)),
        _ => None,
    }
}

/// The longest side of a canvas, far above any detector's: a signature must not make this service allocate at will.
const MAX_CANVAS_SIDE: usize = 8_192;

/// A size that a canvas can have.
fn size(width: usize, height: usize) -> Option<Size> {
    let fits = |side: usize| (1..=MAX_CANVAS_SIDE).contains(&side);
    (fits(width) && fits(height)).then(|| Size::new(width as u32, height as u32))
}

/// The cells of a detector's grid at one stride, row by row: `(column, row)`.
fn cells(canvas: Size, stride: u32) -> impl Iterator<Item = (u32, u32)> {
    let (columns, rows) = (canvas.width.div_ceil(stride), canvas.height.div_ceil(stride));
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (column, row)))
}

/// How many cells [`cells`] yields.
fn cell_count(canvas: Size, stride: u32) -> usize {
    (canvas.width.div_ceil(stride) * canvas.height.div_ceil(stride)) as usize
}

/// The strides of the three levels that these detectors have.
const STRIDES: [u32; 3] = [8, 16, 32];

/// The highest of the scores and its place; NaN never wins.
fn best_class(scores: &[f32]) -> Option<(usize, f32)> {
    let mut best = None;
    for (index, &score) in scores.iter().enumerate() {
        if best.map_or(!score.is_nan(), |(_, highest)| score > highest) {
            best = Some((index, score));
        }
    }
    best
}

/// A score, where it is at least the wanted one; NaN never is.
///
/// # Errors
/// `MODEL_CONTRACT` above 1: the numbers are logits, classes or keypoints, and to list them would be a lie.
fn score(key: &str, score: f32, min_score: f32) -> Result<Option<f32>, Fault> {
    /// What rounding in half precision may add to a score of 1.
    const ROUNDING: f32 = 0.001;
    if score > 1.0 + ROUNDING {
        return Err(broken(format!("output '{key}' holds {score} where a score of 0 to 1 was expected")));
    }
    Ok((score >= min_score).then_some(score.min(1.0)))
}

/// The number of a class, which most models answer as a float.
///
/// # Errors
/// `MODEL_CONTRACT` where it is not a number, or one at which floats no longer tell two classes apart.
fn class_number(key: &str, class: f32) -> Result<i64, Fault> {
    /// 2^24: above it not every whole number is an `f32`.
    const MAX: f32 = 16_777_216.0;
    if class.abs() < MAX {
        Ok(class.round() as i64)
    } else {
        Err(broken(format!("output '{key}' holds {class} where a class was expected")))
    }
}

/// A class whose number is its place in the label map.
///
/// # Errors
/// `MODEL_CONTRACT` where it is negative.
fn class_place(key: &str, number: i64) -> Result<Class, Fault> {
    let place = usize::try_from(number);
    place
        .map(Class::Index)
        .map_err(|_| broken(format!("output '{key}' holds {number} where a class from 0 was expected")))
}

/// Whether boxes are in fractions of the canvas rather than in its pixels, judged by the largest coordinate of each.
///
/// Some exporters write one signature for both. A fraction hardly exceeds 1, and an edge or a centre within the first
/// two pixels is as rare in pixels, so that the majority decides; a few wild values do not.
fn in_fractions(largest: impl Iterator<Item = f32>) -> bool {
    const MOST: f32 = 2.0;
    let (mut all, mut small) = (0_usize, 0_usize);
    for coordinate in largest.filter(|coordinate| coordinate.is_finite()) {
        all += 1;
        small += usize::from(coordinate <= MOST);
    }
    small > all / 2
}

/// A rectangle from its centre and its sides.
fn around(x: f32, y: f32, width: f32, height: f32) -> Rect<Canvas> {
    Rect::new(x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0)
}

/// The candidates of a model that suppresses by itself; those without a place are none.
fn best_first(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.rect.is_finite());
    candidates.sort_by(Candidate::best_first);
    candidates
}

#[cfg(test)]
mod tests;
