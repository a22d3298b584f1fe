//! What an operator says of a model where its signature does not say it, or where the guess would be wrong.
//!
//! What is said fills in what a signature leaves open, and decides between kinds whose signatures look alike. It never
//! overrides what a signature declares: a contradiction is refused with both sides.

use crate::geometry::Size;
use crate::model::input::{Channels, Form, Input, Layout, Resize, Samples};
use crate::model::signature::Signature;
use crate::tensor::{DType, TensorSpec};

/// What is said of one model; by default nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mapping {
    /// The kind of model, where it is not to be guessed.
    pub kind: Option<Kind>,
    /// Added to the number of a class to get its id in the label map.
    pub class_offset: Option<i64>,
    /// How a photo is laid out for it.
    pub input: InputMapping,
}

/// The kinds of model that can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "docs/MODELS.md has the table; each is a file of `adapter`")]
pub enum Kind {
    TfDetection,
    ModelGarden,
    Ssd,
    NanoDet,
    YoloX,
    YoloV8,
    YoloV5,
    YoloSuppressed,
    /// Outputs that are named one by one.
    Boxes(BoxOutputs),
}

/// The outputs of a model that lists boxes, whatever their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxOutputs {
    /// `[1, N, 4]`
    pub boxes: String,
    /// `[1, N]`, or `[1, N, classes]` where there is no output with classes.
    pub scores: String,
    /// `[1, N]`; without it the best of the scores of a row tells its class, or there is only one.
    pub classes: Option<String>,
    /// `[1]`, how many of the N rows count.
    pub count: Option<String>,
    /// What the four numbers of a box are.
    pub format: BoxFormat,
    /// What they are measured in.
    pub frame: BoxFrame,
}

/// The four numbers of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxFormat {
    /// `y_min, x_min, y_max, x_max`
    Yxyx,
    /// `x_min, y_min, x_max, y_max`
    Xyxy,
    /// Centre and sides: `x, y, width, height`
    Cxcywh,
}

/// What the numbers of a box are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxFrame {
    /// Fractions of the canvas.
    Normalized,
    /// Pixels of the canvas.
    Pixels,
}

/// What is said of the picture input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputMapping {
    /// Its key.
    pub key: Option<String>,
    /// The size of the canvas.
    pub size: Option<Size>,
    /// The order of its axes.
    pub layout: Option<Layout>,
    /// The order of the channels.
    pub channels: Option<Channels>,
    /// What a float32 sample is.
    pub samples: Option<Samples>,
    /// How a photo of another aspect is made to fit.
    pub resize: Option<Resize>,
    /// The colour outside the photo, in RGB.
    pub pad: Option<[u8; 3]>,
}

impl InputMapping {
    /// The signature with what it leaves open filled in.
    ///
    /// # Errors
    /// What was found and what was said, where the two contradict each other.
    pub(super) fn pin(&self, signature: &Signature) -> Result<Signature, String> {
        let mut pinned = signature.clone();
        if let Some(key) = &self.key
            && !signature.inputs.contains_key(key)
        {
            let keys: Vec<_> = signature.inputs.keys().map(String::as_str).collect();
            return Err(format!("The configuration names the input '{key}'; the signature has {}.", keys.join(", ")));
        }
        // Kinds take one input; they say so themselves where there are others.
        if pinned.inputs.len() == 1 {
            for (key, spec) in &mut pinned.inputs {
                *spec = self.pin_spec(key, spec)?;
            }
        }
        Ok(pinned)
    }

    fn pin_spec(&self, key: &str, spec: &TensorSpec) -> Result<TensorSpec, String> {
        if self.size.is_none() && self.layout.is_none() {
            return Ok(spec.clone());
        }
        if spec.dtype == DType::String {
            return Err(format!(
                "The configuration gives input '{key}' a size or a layout; it is {spec}, whole files."
            ));
        }
        let layout = self.layout.unwrap_or(match spec.axes.as_deref() {
            Some([_, Some(3), _, _]) => Layout::Nchw,
            _ => Layout::Nhwc,
        });
        let [height, width] = [self.size.map(|size| size.height as usize), self.size.map(|size| size.width as usize)];
        let said = match layout {
            Layout::Nhwc => [Some(1), height, width, Some(3)],
            Layout::Nchw => [Some(1), Some(3), height, width],
        };
        let said = TensorSpec { dtype: spec.dtype, axes: Some(said.to_vec()) };
        let contradiction = || format!("The configuration makes input '{key}' {said}; the signature says {spec}.");
        let Some(axes) = &spec.axes else { return Ok(said.clone()) };
        let pairs = axes.iter().zip(said.axes.iter().flatten());
        if axes.len() != 4 || pairs.clone().any(|(found, said)| found.is_some() && said.is_some() && found != said) {
            return Err(contradiction());
        }
        let axes = pairs.map(|(found, said)| found.or(*said)).collect();
        Ok(TensorSpec { dtype: spec.dtype, axes: Some(axes) })
    }

    /// Puts what is said of the pixels in the place of what a kind of model usually has.
    ///
    /// # Errors
    /// Where the input has no pixels, or none that can be scaled.
    pub(super) fn apply(&self, input: &mut Input) -> Result<(), String> {
        let key = &input.key;
        let says_pixels =
            self.channels.is_some() || self.samples.is_some() || self.resize.is_some() || self.pad.is_some();
        let pixels = match &mut input.form {
            Form::Pixels(pixels) => pixels,
            Form::Encoded if says_pixels => {
                return Err(format!(
                    "The configuration says how the pixels of input '{key}' are; it takes whole files (string)."
                ));
            }
            Form::Encoded => return Ok(()),
        };
        if let Some(samples) = self.samples {
            if pixels.samples == Samples::U8 {
                return Err(format!("The configuration scales the samples of input '{key}'; it is uint8, 0 to 255."));
            }
            pixels.samples = samples;
        }
        pixels.channels = self.channels.unwrap_or(pixels.channels);
        pixels.resize = self.resize.unwrap_or(pixels.resize);
        pixels.pad = self.pad.unwrap_or(pixels.pad);
        Ok(())
    }
}
